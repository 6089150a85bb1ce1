// Pages, images and scripts that somebody has stored in topics, opened in headless Chromium in every way a page of the
// gateway's own origin could: nothing in them runs.
// Usage: node stored_script.mjs HTTP_PORT PAGE_PORT CHROMIUM
//   PAGE_PORT is where this program serves the same things without the guard; the gateway trusts that origin, so that
//   what runs there is seen.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { chromium } from 'playwright-core';

const [httpPort, pagePort, executablePath] = process.argv.slice(2);
const gateway = `http://127.0.0.1:${httpPort}`;
const unguarded = `http://127.0.0.1:${pagePort}`;

setTimeout(() => fail(new Error('no result within 100 s')), 100_000).unref();
function fail(error) {
  console.error(error.stack ?? error);
  process.exit(1);
}

// What a script does that runs: whoever it is on, it tells.
const told = name => `fetch('${gateway}/api/v1/topics/ran/${name}', { method: 'POST', body: 'x' }); document.title = 'ran';`;
const html = name => `<!doctype html><title>quiet</title><script>${told(name)}</script><img src=x onerror="${told(name)}">`;
const svg = name => `<svg xmlns="http://www.w3.org/2000/svg"><script>${told(name)}</script></svg>`;
const xhtml = name => `<html xmlns="http://www.w3.org/1999/xhtml"><head><title>quiet</title><script>${told(name)}</script></head><body/></html>`;

const stored = {
  html: ['text/html', html],
  upper: ['TEXT/HTML; charset=utf-8', html],
  svg: ['image/svg+xml', svg],
  xhtml: ['application/xhtml+xml', xhtml],
  xml: ['text/xml', xhtml],
  video: ['video/x+xml', xhtml],
  script: ['application/javascript', told],
  plain: ['text/plain', html],
  json: ['application/json', html],
  image: ['image/png', html],
  none: [null, html],
};

async function state(topic) {
  const answer = await fetch(`${gateway}/api/v1/messages?topic=${topic}%2F%23&limit=1000`);
  assert.equal(answer.status, 200);
  return (await answer.json()).messages.map(message => message.topic);
}

async function until(what, condition) {
  for (let tries = 0; tries < 1500; tries++) {
    if (await condition()) return;
    await new Promise(done => setTimeout(done, 20));
  }
  throw new Error(`30 s without ${what}`);
}

// Opens an address; true if it became a page, false if it was saved.
async function visit(page, url) {
  const saved = page.waitForEvent('download', { timeout: 30_000 }).then(() => false, () => null);
  const shown = page.goto(url).then(() => true, () => null);
  const first = await Promise.race([saved, shown.then(shown => shown ?? saved)]);
  assert.notEqual(first, null, `${url} is neither shown nor saved`);
  return first;
}

// Puts the address into a page of the gateway in every way that could run it, and waits for each.
async function embed(page, url) {
  await page.goto(`${gateway}/`);
  await page.evaluate(async url => {
    const make = (tag, attributes) => new Promise(done => {
      const element = document.createElement(tag);
      for (const event of ['load', 'error']) element.addEventListener(event, done);
      // what is saved instead of shown fires nothing
      setTimeout(done, 500);
      for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
      document.body.append(element);
    });
    await Promise.all([
      make('iframe', { src: url }),
      make('object', { data: url }),
      make('embed', { src: url }),
      make('img', { src: url }),
      make('script', { src: url }),
      make('script', { src: url, type: 'module' }),
      make('link', { rel: 'stylesheet', href: url }),
    ]);
  }, url);
}

const pages = createServer((request, answer) => {
  const [type, body] = stored[request.url.slice(1)] ?? [];
  if (body === undefined) return answer.writeHead(404).end();
  answer.writeHead(200, type === null ? {} : { 'Content-Type': type }).end(body(`unguarded/${request.url.slice(1)}`));
});
await new Promise(done => pages.listen(pagePort, done));
const browser = await chromium.launch({
  executablePath,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync',
  ],
});

try {
  const page = await browser.newPage();
  // what is recorded from now on is found again
  await state('ran');

  // without the guard they run, and that is seen
  for (const name of ['html', 'svg', 'xhtml', 'xml']) {
    assert.ok(await visit(page, `${unguarded}/${name}`), name);
    await until(`a script of ${name} without the guard`, async () => (await state('ran')).includes(`ran/unguarded/${name}`));
  }

  for (const [name, [type, body]] of Object.entries(stored)) {
    const headers = type === null ? {} : { 'Content-Type': type };
    const url = `${gateway}/api/v1/topics/stored/${name}`;
    const put = await fetch(url, { method: 'PUT', body: new TextEncoder().encode(body(name)), headers });
    assert.equal(put.status, 200, name);
    const isShown = await visit(page, url);
    assert.equal(isShown, ['plain', 'json', 'image', 'none'].includes(name), `${name} is shown`);
    if (isShown) assert.notEqual(await page.title(), 'ran', name);
    await embed(page, url);
    assert.notEqual(await page.title(), 'ran', name);
  }

  // a script of the gateway's own page, behind all of them, is seen: the others would have been before it
  await page.goto(`${gateway}/`);
  await page.evaluate(() => fetch('/api/v1/topics/ran/marker', { method: 'POST', body: 'x' }));
  await until('the marker', async () => (await state('ran')).includes('ran/marker'));
  const ran = (await state('ran')).filter(topic => !topic.startsWith('ran/unguarded/'));
  assert.deepEqual(ran, ['ran/marker']);
  console.log('ok stored scripts');
} catch (error) {
  fail(error);
} finally {
  await browser.close();
  pages.close();
}
process.exit(0);
