// A page that the gateway serves, in headless Chromium: EventSource hears what MQTT.js says over a
// WebSocket, and MQTT.js hears what fetch posts. Usage: node browser.mjs HTTP_PORT CHROMIUM
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { chromium } from 'playwright-core';

const [httpPort, executablePath] = process.argv.slice(2);
const origin = `http://127.0.0.1:${httpPort}`;
const library = await readFile(new URL('node_modules/mqtt/dist/mqtt.esm.js', import.meta.url));

setTimeout(() => {
  console.error('no result within 90 s');
  process.exit(1);
}, 90_000).unref();
const browser = await chromium.launch({
  executablePath,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync',
  ],
});
try {
  const page = await browser.newPage();
  const complaints = [];
  page.on('pageerror', error => complaints.push(`uncaught: ${error}`));
  page.on('console', message => {
    if (message.type() === 'error') complaints.push(`console: ${message.text()}`);
  });
  // MQTT.js comes from the page's own origin, so the page's policy stays as it is
  await page.route('**/interop/mqtt.esm.js', route => route.fulfill({ contentType: 'text/javascript', body: library }));
  const response = await page.goto(`${origin}/`);
  assert.equal(response.status(), 200, 'the gateway serves a page');

  const seen = await page.evaluate(async () => {
    const { default: mqtt } = await import('/interop/mqtt.esm.js');
    const within = (promise, what) => Promise.race([
      promise,
      new Promise((_, fail) => setTimeout(() => fail(new Error(`20 s without ${what}`)), 20_000)),
    ]);
    const events = new EventSource('/api/v1/stream?' + new URLSearchParams([['topic', 'interop/browser/#']]));
    const ready = await within(new Promise(done => events.addEventListener('ready', e => done(JSON.parse(e.data)))), 'ready');

    // over WebSocket in, over EventSource out
    const client = await within(
      mqtt.connectAsync(`ws://${location.host}/mqtt`, { protocolVersion: 5, timerVariant: 'native', reconnectPeriod: 0 }),
      'CONNACK',
    );
    const heard = new Promise(done => { events.onmessage = e => done(JSON.parse(e.data)); });
    await within(client.publishAsync('interop/browser/up', 'from MQTT.js — Grüße', { qos: 2 }), 'PUBCOMP');
    const event = await within(heard, 'the event');

    // over fetch in, over WebSocket and EventSource out
    await within(client.subscribeAsync('interop/browser/down', { qos: 1 }), 'SUBACK');
    const arrived = new Promise(done => client.once('message', (topic, payload, packet) =>
      done({ topic, payload: payload.toString(), qos: packet.qos })));
    const second = new Promise(done => { events.onmessage = e => done(JSON.parse(e.data)); });
    const posted = await fetch('/api/v1/topics/interop/browser/down', { method: 'POST', body: 'from fetch' });
    const message = await within(arrived, 'the message');
    const echo = await within(second, 'the second event');
    await client.endAsync();

    // both over one WebSocket in JSON, which the browser has by itself
    const third = new Promise(done => { events.onmessage = e => done(JSON.parse(e.data)); });
    const socket = new WebSocket(`ws://${location.host}/api/v1/ws`, 'tidegate.v1');
    const say = frame => socket.send(JSON.stringify(frame));
    socket.onopen = () => {
      say({ op: 'sub', ref: 1, topics: ['interop/browser/json'], retained: 'never' });
      say({ op: 'pub', ref: 2, topic: 'interop/browser/json', payload: 'Grüße in JSON', retain: true });
    };
    const frames = [];
    await within(new Promise(done => {
      socket.onmessage = event => { if (frames.push(JSON.parse(event.data)) === 4) done(); };
    }), 'ready, two answers and a message');
    const overheard = await within(third, 'the third event');
    const closed = new Promise(done => { socket.onclose = e => done({ code: e.code, clean: e.wasClean }); });
    socket.close(1000);
    const close = await within(closed, 'the close');

    events.close();
    return { ready, event, status: posted.status, message, echo, frames, overheard, close, protocol: socket.protocol };
  });

  assert.deepEqual(seen.ready.filters, ['interop/browser/#']);
  assert.equal(seen.event.topic, 'interop/browser/up');
  assert.equal(seen.event.payload, 'from MQTT.js — Grüße');
  assert.equal(seen.event.qos, 2);
  assert.equal(seen.status, 200);
  assert.deepEqual(seen.message, { topic: 'interop/browser/down', payload: 'from fetch', qos: 1 });
  assert.equal(seen.echo.payload, 'from fetch');
  assert.equal(seen.protocol, 'tidegate.v1');
  const frame = op => seen.frames.filter(frame => frame.op === op);
  assert.deepEqual([seen.frames[0].op, seen.frames[1].op], ['ready', 'ok']);
  assert.deepEqual([seen.frames[1].ref, frame('ok')[1].ref], [1, 2]);
  assert.deepEqual([frame('msg')[0].payload, frame('msg')[0].sub], ['Grüße in JSON', seen.frames[1].sub]);
  assert.equal(seen.overheard.payload, 'Grüße in JSON');
  assert.deepEqual(seen.close, { code: 1000, clean: true });
  assert.deepEqual(complaints, [], 'the page complains about nothing');

  // a page of another origin can neither open a WebSocket nor publish
  const foreign = await browser.newPage();
  await foreign.route('http://foreign.test/', route => route.fulfill({ contentType: 'text/html', body: '<!doctype html>' }));
  await foreign.goto('http://foreign.test/');
  const refused = await foreign.evaluate(async origin => {
    const opens = (path, protocol) => new Promise(done => {
      const socket = new WebSocket(origin.replace('http', 'ws') + path, protocol);
      socket.onopen = () => done(true);
      socket.onerror = () => done(false);
    });
    const opened = await opens('/mqtt', 'mqtt') || await opens('/api/v1/ws', 'tidegate.v1');
    let readable = true;
    await fetch(`${origin}/api/v1/topics/interop/foreign?retain=true`, { method: 'POST', body: 'x' })
      .catch(() => { readable = false; });
    return { opened, readable };
  }, origin);
  assert.deepEqual(refused, { opened: false, readable: false });
  const stored = await fetch(`${origin}/api/v1/topics/interop/foreign`);
  assert.equal(stored.status, 404, 'the foreign page published nothing');
  console.log('ok browser');
} finally {
  await browser.close();
}
