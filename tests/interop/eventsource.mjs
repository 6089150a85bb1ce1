// A native EventSource in headless Chromium, behind a forwarder that cuts its connections and reads along: what the
// browser remembers, what it presents when it comes back, and what it then gets.
// Usage: node eventsource.mjs HTTP_PORT PAGE_PORT CHROMIUM
//   PAGE_PORT is where this program serves a page of another origin: as 127.0.0.1 the gateway trusts it, as localhost
//   it does not. Says each thing that it has seen; `restart` when the gateway is to be stopped and started again.
import assert from 'node:assert/strict';
import { createServer as createPage } from 'node:http';
import { connect, createServer } from 'node:net';
import { chromium } from 'playwright-core';

const [httpPort, pagePort, executablePath] = process.argv.slice(2);
const gateway = `http://127.0.0.1:${httpPort}`;

setTimeout(() => fail(new Error('no result within 340 s')), 340_000).unref();
function fail(error) {
  console.log(`failed: ${error.stack ?? error}`.replaceAll('\n', ' | '));
  process.exit(1);
}

async function until(what, condition) {
  for (let tries = 0; tries < 1500; tries++) {
    const found = await condition();
    if (found) return found;
    await new Promise(done => setTimeout(done, 20));
  }
  throw new Error(`30 s without ${what}`);
}

async function publish(topic, payload) {
  const answer = await fetch(`${gateway}/api/v1/topics/${topic}`, { method: 'POST', body: String(payload) });
  assert.equal(answer.status, 200);
  return (await answer.json()).cursor;
}

// What browsers ask of the gateway goes through here.
class Forwarder {
  requests = [];
  heard = '';
  refuses = false;
  #pairs = new Set();
  #server = createServer(inner => {
    if (this.refuses) return inner.destroy();
    const outer = connect(httpPort, '127.0.0.1');
    const pair = [inner, outer];
    this.#pairs.add(pair);
    for (const [from, to] of [pair, [outer, inner]]) {
      from.on('error', () => {});
      from.on('close', () => { to.destroy(); this.#pairs.delete(pair); });
      from.pipe(to);
    }
    inner.on('data', bytes => this.requests.push(bytes.toString('latin1')));
    outer.on('data', bytes => { this.heard += bytes.toString('latin1'); });
  });

  async open() {
    await new Promise(done => this.#server.listen(0, '127.0.0.1', done));
    this.origin = `http://127.0.0.1:${this.#server.address().port}`;
  }

  // As a box on the way that has forgotten the connection.
  cut() {
    for (const [inner, outer] of this.#pairs) {
      inner.resetAndDestroy();
      outer.resetAndDestroy();
    }
  }

  // What browsers presented on this topic, one entry for each time one opened the stream.
  presented(topic) {
    const opened = this.requests.filter(text => text.startsWith('GET /api/v1/stream?') && text.includes(`topic=${topic}%2F`));
    return opened.map(text => /^last-event-id: (.*)\r$/im.exec(text)?.[1] ?? null);
  }

  close() { this.#server.close(); }
}

// Opens an EventSource in a page, which keeps everything that it fires.
async function listen(page, name, url) {
  await page.evaluate(([name, url]) => {
    const source = new EventSource(url);
    const fired = [];
    for (const type of ['open', 'error', 'message', 'ready', 'gap', 'bye', 'heartbeat', 'hb']) {
      source.addEventListener(type, event => fired.push({
        type, id: event.lastEventId, state: source.readyState,
        data: event.data === undefined ? null : JSON.parse(event.data),
      }));
    }
    window[name] = { source, fired };
  }, [name, url]);
  const fired = () => page.evaluate(name => window[name].fired, name);
  return {
    fired,
    events: async type => (await fired()).filter(event => event.type === type),
    messages: async () => (await fired()).filter(event => event.type === 'message'),
    state: () => page.evaluate(name => window[name].source.readyState, name),
    close: () => page.evaluate(name => window[name].source.close(), name),
    async count(number) {
      await until(`${number} messages of ${name}`, async () => (await this.messages()).length >= number);
      return this.messages();
    },
  };
}

const texts = messages => messages.map(event => event.data.payload);
const numbers = (from, to) => Array.from({ length: to - from }, (_, n) => String(from + n));
const offset = id => Number(id.split('-')[1]);
const stream = (origin, topic, more = '') => `${origin}/api/v1/stream?topic=${topic}%2F%23&${more}`;

const forwarder = new Forwarder();
await forwarder.open();
const pages = createPage((_, answer) => answer.setHeader('Content-Type', 'text/html').end('<!doctype html><title>a</title>'));
await new Promise(done => pages.listen(pagePort, done));
const browser = await chromium.launch({
  executablePath,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync',
  ],
});

try {
  console.log('seen browser');
  const page = await browser.newPage();
  await page.goto(`${forwarder.origin}/`);

  // every message has an id, which is its cursor
  const kept = await listen(page, 'kept', stream(forwarder.origin, 'kept', 'heartbeat=5'));
  const [ready] = await until('ready', async () => { const all = await kept.events('ready'); return all.length && all; });
  assert.equal(ready.id, ready.data.since);
  for (const number of numbers(0, 5)) await publish('kept/a', number);
  let got = await kept.count(5);
  for (const event of got) assert.equal(event.id, event.data.cursor);

  console.log('seen messages');

  // cut off, it comes back by itself to exactly what it missed
  forwarder.refuses = true;
  forwarder.cut();
  for (const number of numbers(5, 10)) await publish('kept/a', number);
  forwarder.refuses = false;
  const before = got.at(-1).id;
  got = await kept.count(10);
  assert.deepEqual(texts(got), numbers(0, 10));
  assert.deepEqual(forwarder.presented('kept'), [null, before]);

  console.log('seen resuming');

  // a heartbeat fires nothing and moves what the browser remembers
  const firedBefore = (await kept.fired()).length;
  const passed = await publish('other/kept', 'x');
  assert.ok(passed, 'it is recorded by a history rule');
  const beat = await until('a heartbeat', () =>
    [...forwarder.heard.matchAll(/id: (\S+)\n: hb\n\n/g)].map(found => found[1]).find(id => offset(id) >= offset(passed)));
  assert.ok(offset(beat) > offset(got.at(-1).id));
  // the browser has read it when it has read what comes behind it, and that has an id of its own: cut at once
  forwarder.cut();
  await publish('kept/a', 10);
  got = await kept.count(11);
  const [, , presented] = forwarder.presented('kept');
  assert.ok(offset(presented) >= offset(beat), `${presented} is presented after the heartbeat ${beat}`);
  assert.deepEqual(texts(got), numbers(0, 11));
  const between = (await kept.fired()).slice(firedBefore);
  assert.deepEqual(between.map(event => event.type).filter(type => type !== 'error'), ['open', 'ready', 'message']);

  console.log('seen heartbeat');

  // a stop says bye; over the restart a history rule keeps everything
  console.log('restart');
  await until('bye', async () => (await kept.events('bye')).length);
  const [bye] = await kept.events('bye');
  assert.deepEqual(bye.data, { reason: 'shutting_down', reconnect: true });
  // the one that stops still answers on connections that are kept, and says there that it is not ready
  await until('the gateway', () => fetch(`${gateway}/readyz`).then(answer => answer.ok, () => false));
  for (const number of numbers(11, 15)) await publish('kept/a', number);
  got = await kept.count(15);
  assert.deepEqual(texts(got), numbers(0, 15));
  assert.deepEqual(await kept.events('gap'), []);
  assert.equal(await kept.state(), 1);
  await kept.close();

  console.log('seen goodbye');

  // grows old meanwhile, over connections that nobody cuts
  const calm = new Forwarder();
  await calm.open();
  const calmPage = await browser.newPage();
  await calmPage.goto(`${calm.origin}/`);
  const aged = await listen(calmPage, 'aged', stream(calm.origin, 'aged', 'max_age=60'));
  await until('ready', async () => (await aged.events('ready')).length);
  let published = 0, steady = true;
  const publishing = (async () => {
    while (steady) {
      await publish('aged/a', published++);
      await new Promise(done => setTimeout(done, 50));
    }
  })();

  // what the log has let go of meanwhile is told as one gap, with the state behind it and then all that is left
  const lost = await listen(page, 'lost', stream(forwarder.origin, 'lost'));
  await until('ready', async () => (await lost.events('ready')).length);
  await fetch(`${gateway}/api/v1/topics/lost/state`, { method: 'PUT', body: 'on' });
  await publish('lost/a', '0');
  const [, last] = await lost.count(2);
  forwarder.refuses = true;
  forwarder.cut();
  const cursors = new Map();
  const filler = ' '.repeat(2000);
  for (const number of numbers(1, 101)) cursors.set(number, await publish('lost/a', number + filler));
  forwarder.refuses = false;
  await until('the newest message', async () => texts(await lost.messages()).includes(`100${filler}`));
  const gaps = await lost.events('gap');
  assert.equal(gaps.length, 1);
  const { reason, from, to } = gaps[0].data;
  // until all of the state is there, a browser that is cut off comes back to the gap
  assert.deepEqual([reason, from, gaps[0].id], ['expired', last.id, last.id]);
  const fired = await lost.fired();
  const behind = fired.slice(fired.findIndex(event => event.type === 'gap') + 1);
  const [state, ...left] = behind;
  assert.deepEqual([state.data.payload, state.data.snapshot, state.id], ['on', true, last.id]);
  const first = Number(left[0].data.payload);
  assert.deepEqual(texts(left).map(text => text.trim()), numbers(first, 101));
  // what is missing stands in the gap
  for (const number of numbers(1, first)) assert.ok(offset(cursors.get(number)) <= offset(to));
  await lost.close();

  console.log('seen gap');

  // a page of another origin hears what the gateway's owner lets it hear, also when it comes back with an id
  const trusted = await browser.newPage();
  await trusted.goto(`http://127.0.0.1:${pagePort}/`);
  const abroad = await listen(trusted, 'abroad', stream(forwarder.origin, 'abroad'));
  await until('ready', async () => (await abroad.events('ready')).length);
  await publish('abroad/a', '0');
  const [only] = await abroad.count(1);
  forwarder.cut();
  await publish('abroad/a', '1');
  assert.deepEqual(texts(await abroad.count(2)), ['0', '1']);
  assert.deepEqual(forwarder.presented('abroad'), [null, only.id]);
  assert.ok(!forwarder.requests.some(text => text.startsWith('OPTIONS')), 'no browser had to ask before');
  await abroad.close();

  console.log('seen trusted page');

  // at its age a stream ends with bye, and the browser comes back to the next message
  const goesBy = async tenths => {
    for (; tenths > 0 && (await aged.events('bye')).length === 0; tenths--) await new Promise(done => setTimeout(done, 100));
  };
  await goesBy(250);
  console.log('seen middle age');
  await goesBy(450);
  const [old] = await aged.events('bye');
  assert.deepEqual(old.data, { reason: 'max_age', reconnect: true });
  await until('a second ready', async () => (await aged.events('ready')).length === 2);
  const [, back] = calm.presented('aged');
  const first60 = (await aged.fired()).map(event => event.type);
  const lastBefore = (await aged.fired())[first60.indexOf('bye')].id;
  assert.equal(back, lastBefore, 'it presents where it was');
  steady = false;
  await publishing;
  assert.deepEqual(texts(await aged.count(published)), numbers(0, published));
  assert.deepEqual(await aged.events('gap'), []);
  assert.equal(calm.presented('aged').length, 2);
  await aged.close();
  calm.close();

  console.log('seen rotation');

  // and any other page hears nothing, and does not come again
  const foreign = await browser.newPage();
  await foreign.goto(`http://localhost:${pagePort}/`);
  const refused = await listen(foreign, 'refused', stream(forwarder.origin, 'refused'));
  await until('an error', async () => (await refused.events('error')).length);
  assert.equal(await refused.state(), 2, 'it is closed for good');
  assert.deepEqual((await refused.fired()).map(event => event.type), ['error']);
  console.log('seen foreign page');
} catch (error) {
  fail(error);
} finally {
  await browser.close();
  forwarder.close();
  pages.close();
}
process.exit(0);
