// Pages of other origins in headless Chromium, whose visitor is logged in to the gateway: all that a page can send by
// itself does nothing there, and nothing that comes back can be read.
// Usage: node foreign.mjs HTTP_PORT TRUSTED_PORT CHROMIUM USER PASSWORD
//   TRUSTED_PORT is where this program serves the same page to an origin that the gateway trusts, to see that the same
//   attempts do reach it; 0 if it trusts none.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { chromium } from 'playwright-core';
import { attempts } from './foreign_attempts.mjs';

const [httpPort, trustedPort, executablePath, user, password] = process.argv.slice(2);
// a name, since browsers take cookies with __Host- over plain HTTP from this machine alone
const gateway = `http://localhost:${httpPort}`;

setTimeout(() => fail(new Error('no result within 170 s')), 170_000).unref();
function fail(error) {
  console.error(error.stack ?? error);
  process.exit(1);
}

async function until(what, condition) {
  for (let tries = 0; tries < 1500; tries++) {
    if (await condition()) return;
    await new Promise(done => setTimeout(done, 20));
  }
  throw new Error(`30 s without ${what}`);
}

async function serve(port) {
  const pages = createServer((request, answer) => {
    const headers = { 'Content-Type': 'text/html' };
    if (request.url === '/sandboxed') headers['Content-Security-Policy'] = 'sandbox allow-scripts allow-forms';
    answer.writeHead(200, headers).end('<!doctype html><title>a foreign page</title><body>');
  });
  await new Promise((done, failed) => pages.on('error', failed).listen(port, '127.0.0.1', done));
  return pages;
}
const foreignPages = await serve(0);
const trustedPages = trustedPort === '0' ? null : await serve(Number(trustedPort));
const foreignPort = foreignPages.address().port;

const browser = await chromium.launch({
  executablePath,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP evil.test 127.0.0.1',
  ],
});

try {
  const context = await browser.newContext();
  const own = await context.newPage();
  await own.goto(`${gateway}/`);
  const session = await own.evaluate(async login => {
    const headers = { 'Content-Type': 'application/json' };
    const answer = await fetch('/auth/session', { method: 'POST', headers, body: JSON.stringify(login) });
    return answer.json();
  }, { user, password });
  assert.equal(session.user, user);
  const cookies = await context.cookies();

  // what a page would like to read: text, and things that an element of a page takes from anywhere
  const pixel = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
  const state = { text: ['text/plain', 'a secret'], script: ['text/javascript', 'window.leaked = true'],
    style: ['text/css', 'body { --leaked: true }'], image: ['image/png', pixel] };
  await own.evaluate(async state => {
    for (const [name, [type, text]] of Object.entries(state)) {
      const body = type === 'image/png' ? Uint8Array.from(atob(text), c => c.charCodeAt(0)) : text;
      const put = await fetch(`/api/v1/topics/kept/${name}`, { method: 'PUT', headers: { 'Content-Type': type }, body });
      if (put.status !== 200) throw new Error(`${put.status} for ${name}`);
    }
  }, state);

  // the rightful page hears what is published anywhere
  await own.evaluate(() => new Promise((done, failed) => {
    window.heard = [];
    window.events = new EventSource('/api/v1/stream?topic=done/%23&topic=kept/%23&retained=never');
    events.addEventListener('ready', done);
    events.onerror = failed;
    events.onmessage = event => heard.push(JSON.parse(event.data).topic);
  }));
  let marks = 0;
  // all that was published since the last marker
  const heard = () => own.evaluate(async marker => {
    const answer = await fetch(`/api/v1/topics/${marker}`, { method: 'POST', body: 'x' });
    if (answer.status !== 200) throw new Error(`${answer.status} for the marker`);
    while (!heard.includes(marker)) await new Promise(done => setTimeout(done, 10));
    return heard.splice(0).filter(topic => topic !== marker);
  }, `done/marker/${++marks}`);

  // attempts everything from a page, and gives what came of it, as seen by the page and beneath it
  const attempt = async (origin, path) => {
    const page = await context.newPage();
    await page.goto(`${origin}${path}`);
    const [heads, answers] = [[], []];
    page.on('request', request => {
      if (!request.url().startsWith(gateway)) return;
      heads.push(request.allHeaders().then(headers => [request.method(), headers.cookie], () => []));
    });
    page.on('response', response => {
      if (response.url().startsWith(gateway)) answers.push([response.request().method(), response.url(), response.status()]);
    });
    const name = `${new URL(origin).hostname}${path}`;
    const seen = await page.evaluate(attempts, { gateway, user: `${user}2`, password, name });
    return { ...seen, page, answers, heads };
  };
  const refusals = async () => {
    const page = await own.evaluate(() => fetch('/metrics').then(answer => answer.text()));
    return Number(/^tidegate_refused_total\{reason="origin"\} (\d+)/m.exec(page)[1]);
  };

  let [cases, refused] = [0, await refusals()];
  for (const [origin, path] of [
    // another port is another origin of the same site: the cookie goes along
    [`http://localhost:${foreignPort}`, '/'],
    [`http://localhost:${foreignPort}`, '/sandboxed'],
    [`http://127.0.0.1:${foreignPort}`, '/'],
    [`http://evil.test:${foreignPort}`, '/'],
  ]) {
    const place = `${origin}${path}`;
    const seen = await attempt(origin, path);
    assert.deepEqual(seen.leaks, [], `${place} can read nothing`);
    assert.deepEqual(seen.opened, [], `${place} opens no WebSocket`);
    for (const [method, url, status] of seen.answers) {
      if (!['GET', 'HEAD', 'OPTIONS'].includes(method)) assert.equal(status, 403, `${place}: ${method} ${url}`);
    }
    // they did reach the gateway, those of its own site with the visitor's cookie
    await until(`${seen.acted} refusals of ${place}`, async () => await refusals() >= refused + seen.acted);
    refused += seen.acted;
    // some heads are never told, and given up with the page
    await seen.page.close();
    const cookieSent = (await Promise.all(seen.heads)).filter(([method, cookie]) => method === 'POST' && cookie).length;
    assert.equal(cookieSent > 0, place === `http://localhost:${foreignPort}/`, `${place}: ${cookieSent} with the cookie`);
    assert.deepEqual(await heard(), [], `${place} published nothing`);
    cases += seen.sent;
    // still logged in, as the same, for no longer than before
    assert.deepEqual(await own.evaluate(() => fetch('/auth/session').then(answer => answer.json())), session, place);
    assert.deepEqual(await context.cookies(), cookies, place);
  }
  // a change of what is retained would have been heard; here it is still
  const kept = await own.evaluate(() => fetch('/api/v1/topics/kept/text').then(answer => answer.text()));
  assert.equal(kept, 'a secret');

  // the same from a page that is trusted does arrive: it is the origin that kept the others out
  if (trustedPages) {
    const seen = await attempt(`http://localhost:${trustedPort}`, '/');
    const arrived = new Set(await heard());
    assert.ok(seen.named.length >= 20);
    for (const topic of seen.named) assert.ok(arrived.has(topic), `${topic} of a trusted page arrives`);
    assert.deepEqual(seen.opened.sort(), ['/', '/api/v1/ws', '/mqtt', '/ws']);
    // and not even that page reads with the visitor's cookie; files that are for everybody it may have without
    assert.deepEqual(seen.leaks.filter(leak => !leak.includes('/app.js')), []);
  }
  console.log('ok foreign', cases);
} catch (error) {
  fail(error);
} finally {
  await browser.close();
  foreignPages.close();
  trustedPages?.close();
}
process.exit(0);
