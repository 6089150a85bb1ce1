// DNS rebinding in headless Chromium: a page of http://evil.test, whose name then means the gateway. To the browser both
// are one origin, so that nothing but the gateway keeps that page out.
// Usage: node rebinding.mjs HTTP_PORT NAME CHROMIUM
//   NAME is a further host name that the gateway answers to.
import assert from 'node:assert/strict';
import { createServer as createPage } from 'node:http';
import { connect, createServer } from 'node:net';
import { chromium } from 'playwright-core';

const [httpPort, ownName, executablePath] = process.argv.slice(2);
const evil = `http://evil.test:${httpPort}`;
const own = `http://${ownName}:${httpPort}`;

setTimeout(() => fail(new Error('no result within 100 s')), 100_000).unref();
function fail(error) {
  console.error(error.stack ?? error);
  process.exit(1);
}

// What evil.test is: another address of this machine, with the gateway's port. First the page of an attacker, then a way
// on to the gateway.
let isRebound = false;
const attacker = createPage((request, answer) => {
  answer.writeHead(200, { 'Content-Type': 'text/html', Connection: 'close' }).end('<!doctype html><title>evil</title>');
});
const place = createServer(socket => {
  if (!isRebound) return attacker.emit('connection', socket);
  const onward = connect(Number(httpPort), '127.0.0.1');
  for (const end of [socket, onward]) end.on('error', () => { socket.destroy(); onward.destroy(); });
  socket.pipe(onward).pipe(socket);
});
await new Promise((done, failed) => place.on('error', failed).listen(Number(httpPort), '127.0.0.2', done));

// Everything the gateway has, asked for by a page of the same origin, as the browser believes.
async function everything(topic) {
  const answers = {};
  const ask = async (name, url, options) => {
    const answer = await fetch(url, options);
    answers[name] = [answer.status, await answer.text()];
  };
  await ask('page', '/');
  await ask('script', '/app.js');
  await ask('about', '/api/v1');
  await ask('document', '/openapi.json');
  await ask('health', '/healthz');
  await ask('numbers', '/metrics');
  await ask('who', '/auth/session');
  await ask('state', '/api/v1/topics/kept/state');
  await ask('history', '/api/v1/messages?topic=kept/%23');
  await ask('publish', `/api/v1/topics/${topic}`, { method: 'POST', body: 'x' });
  await ask('retain', `/api/v1/topics/${topic}`, { method: 'PUT', body: 'x' });
  await ask('delete', `/api/v1/topics/${topic}`, { method: 'DELETE' });
  const headers = { 'Content-Type': 'application/json' };
  await ask('ticket', '/auth/tickets', { method: 'POST', headers, body: JSON.stringify({ topics: [topic], actions: ['publish'] }) });
  const events = new EventSource('/api/v1/stream?topic=kept/%23');
  const stream = await new Promise(done => {
    events.addEventListener('ready', () => done('ready'));
    events.onerror = () => done('error');
  });
  events.close();
  const opened = [];
  for (const [path, protocol] of [['/mqtt', 'mqtt'], ['/ws', 'mqtt'], ['/', 'mqtt'], ['/api/v1/ws', 'tidegate.v1']]) {
    const socket = new WebSocket(`ws://${location.host}${path}`, protocol);
    const opens = await new Promise(done => {
      socket.onopen = () => done(true);
      socket.onerror = () => done(false);
    });
    if (opens) opened.push(path);
    socket.close();
  }
  return { answers, stream, opened };
}

const browser = await chromium.launch({
  executablePath,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', `--host-resolver-rules=MAP evil.test 127.0.0.2, MAP ${ownName} 127.0.0.1`,
  ],
});
try {
  const page = await browser.newPage();
  const rightful = await browser.newPage();
  await rightful.goto(`${own}/`);
  await rightful.evaluate(() => new Promise((done, failed) => {
    window.heard = [];
    window.events = new EventSource('/api/v1/stream?topic=done/%23&topic=kept/%23&retained=never');
    events.addEventListener('ready', done);
    events.onerror = failed;
    events.onmessage = event => heard.push(JSON.parse(event.data).topic);
  }));
  const heardUntil = marker => rightful.evaluate(async marker => {
    const answer = await fetch(`/api/v1/topics/${marker}`, { method: 'PUT', body: 'what was kept' });
    if (answer.status !== 200) throw new Error(`${answer.status} for the marker`);
    while (!heard.includes(marker)) await new Promise(done => setTimeout(done, 10));
    return heard.splice(0);
  }, marker);
  assert.deepEqual(await heardUntil('kept/state'), ['kept/state']);

  await page.goto(`${evil}/`);
  assert.equal(await page.title(), 'evil');
  isRebound = true;
  const seen = await page.evaluate(everything, 'done/evil');
  for (const [name, [status, text]] of Object.entries(seen.answers)) {
    assert.equal(status, 421, name);
    assert.ok(JSON.parse(text).type.endsWith('host-rejected'), `${name}: ${text}`);
    assert.ok(!text.includes('what was kept'), name);
  }
  assert.deepEqual([seen.stream, seen.opened], ['error', []]);
  // opened by its address, there is no page either
  const opened = await page.goto(`${evil}/`);
  assert.equal(opened.status(), 421);
  assert.equal(await page.locator('#login, #main').count(), 0);
  assert.deepEqual(await heardUntil('done/marker'), ['done/marker'], 'the rebound page did nothing');

  // the same from a page of a name that is the gateway's own
  const rightfully = await rightful.evaluate(everything, 'done/own');
  const statuses = Object.entries(rightfully.answers).map(([name, [status]]) => [name, status]);
  // where there are no users nobody gets tickets
  for (const [name, status] of statuses) assert.ok([200, 204].includes(status) || name === 'ticket', `${name}: ${status}`);
  assert.equal(rightfully.answers.state[1], 'what was kept');
  assert.deepEqual([rightfully.stream, rightfully.opened], ['ready', ['/mqtt', '/ws', '/', '/api/v1/ws']]);
  assert.deepEqual(await heardUntil('done/last'), ['done/own', 'done/own', 'done/own', 'done/last']);
  console.log('ok rebinding', statuses.length);
} catch (error) {
  fail(error);
} finally {
  await browser.close();
}
process.exit(0);
