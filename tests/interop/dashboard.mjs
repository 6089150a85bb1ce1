// The dashboard of a gateway with users, in headless Chromium: it asks for a password, shows what the user may see, and
// asks again when that is over. Then hundreds of texts that would like to be scripts, shown everywhere.
// Usage: node dashboard.mjs HTTP_PORT CHROMIUM USER PASSWORD SECRET [SCREENSHOTS]
//   SECRET is what tokens are signed with.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import mqtt from 'mqtt';
import { chromium } from 'playwright-core';

const [httpPort, executablePath, user, password, secret, screenshots] = process.argv.slice(2);
// a name, since browsers take cookies with __Host- over plain HTTP from this machine alone
const origin = `http://localhost:${httpPort}`;
const basic = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;

setTimeout(() => {
  console.error('no result within 170 s');
  process.exit(1);
}, 170_000).unref();

async function publish(topic, payload, { type, properties = {} } = {}) {
  const query = new URLSearchParams([['topic', topic], ...Object.entries(properties)]);
  const headers = { Authorization: basic, ...(type ? { 'Content-Type': type } : {}) };
  const answer = await fetch(`${origin}/api/v1/topics?${query}`, { method: 'POST', headers, body: payload });
  return answer.status;
}

// A token of anybody, for an hour.
function token(sub) {
  const part = value => Buffer.from(JSON.stringify(value)).toString('base64url');
  const exp = Math.floor(Date.now() / 1000) + 3600;
  const message = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub, aud: 'tidegate', exp })}`;
  return `${message}.${createHmac('sha256', secret).update(message).digest('base64url')}`;
}

// Publishes over MQTT, as a client of this name; false if nobody can have it.
async function publishAs(clientId, topic, payload) {
  const options = { clientId, username: user, password, protocolVersion: 5, reconnectPeriod: 0 };
  const client = await mqtt.connectAsync(`ws://localhost:${httpPort}/mqtt`, options).catch(() => null);
  if (!client) return false;
  await client.publishAsync(topic, payload, { qos: 1 });
  await client.endAsync();
  return true;
}

// Things that run where text is taken for HTML, an attribute, a URL, a style or a template. {} is what would be run.
const SHAPES = [
  '<script>{}</script>', '<ScRiPt >{}</sCrIpT>', '<script src=data:text/javascript,{}></script>', '</script><script>{}</script>',
  '<img src=x onerror={}>', '<img src=x onerror="{}">', "<img src=x onerror='{}'>", '<img src=`x` onerror={}//', '"><img src=x onerror={}>',
  "'><img src=x onerror={}>", '--><img src=x onerror={}>', ']]><img src=x onerror={}>', '</textarea><img src=x onerror={}>',
  '</title><img src=x onerror={}>', '</style><img src=x onerror={}>', '<svg onload={}>', '<svg/onload={}>', '<svg><script>{}</script></svg>',
  '<svg><animate onbegin={} attributeName=x dur=1s>', '<math><mtext><img src=x onerror={}>', '<body onload={}>', '<iframe srcdoc="<script>parent.{}</script>">',
  '<iframe src="javascript:parent.{}">', '<a href="javascript:{}" autofocus onfocus={}>x</a>', '<input autofocus onfocus={}>', '<select autofocus onfocus={}>',
  '<details open ontoggle={}>', '<video><source onerror={}></video>', '<audio src=x onerror={}>', '<object data="javascript:{}">', '<embed src="javascript:{}">',
  '<form action="javascript:{}"><button autofocus>x</form>', '<style>@import "javascript:{}";</style>', '<link rel=stylesheet href="javascript:{}">',
  '<meta http-equiv=refresh content="0;url=javascript:{}">', '<base href="javascript:{}//">', '<noscript><p title="</noscript><img src=x onerror={}>">',
  'javascript:{}', 'data:text/html,<script>{}</script>', "';{};//", '";{};//', '`${{}}`', '{{constructor.constructor("{}")()}}', '%3Cscript%3E{}%3C/script%3E',
  '&lt;img src=x onerror={}&gt;', '\u003cimg src=x onerror={}\u003e', '\uff1cscript\uff1e{}\uff1c/script\uff1e', '\u202e<img src=x onerror={}>', '<\u200bscript>{}</script>',
  '" onmouseover="{}" style="position:fixed;inset:0" x="',
];
const PLACES = ['payload', 'topic', 'content type', 'user property', 'answer topic'];

const browser = await chromium.launch({
  executablePath,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync',
  ],
});
try {
  const context = await browser.newContext();
  const page = await context.newPage();
  const complaints = [];
  page.on('pageerror', error => complaints.push(`uncaught: ${error}`));
  page.on('dialog', dialog => { complaints.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on('console', message => {
    // what the browser says of every answer that is no success is no complaint of the page
    if (message.type() === 'error' && !/status of 40[13]/.test(message.text())) complaints.push(`console: ${message.text()}`);
  });
  await page.addInitScript(() => {
    window.violations = [];
    window.ran = [];
    document.addEventListener('securitypolicyviolation', event =>
      window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
  });
  const look = async name => { if (screenshots) await page.screenshot({ path: `${screenshots}/${name}.png` }); };

  // whoever is not known is asked, and sees nothing else
  await page.goto(`${origin}/#topic=${encodeURIComponent('seen/#')}`);
  await page.locator('#login').waitFor();
  assert.equal(await page.locator('#main').isVisible(), false);
  await look('login');
  await page.fill('#user', user);
  await page.fill('#password', 'wrong');
  await page.press('#password', 'Enter');
  await page.locator('#login-answer').getByText('Unknown user or wrong password.').waitFor();
  assert.equal(await page.inputValue('#password'), '', 'a wrong password is not kept');
  assert.deepEqual(await context.cookies(), []);

  // the right password lets in
  await page.fill('#password', password);
  await page.press('#password', 'Enter');
  await page.locator('#state[data-state=live]').waitFor();
  assert.equal(await page.textContent('#who'), user);
  assert.equal(await page.locator('#login').isVisible(), false);
  const [cookie] = await context.cookies();
  assert.deepEqual([cookie.name, cookie.httpOnly, cookie.secure, cookie.sameSite], ['__Host-tidegate', true, true, 'Strict']);
  assert.equal(await publish('seen/first', 'hello, dashboard'), 200);
  await page.getByText('hello, dashboard').first().waitFor();
  await look('live');

  // the form publishes as the user
  await page.fill('#topic', 'seen/form');
  await page.fill('#payload', 'from the form');
  await page.click('#publish button[type=submit]');
  await page.locator('#answer[data-state=good]').waitFor();
  await page.locator('#messages').getByText('from the form').waitFor();

  // the same session, in the browser's own WebSocket; reloaded, the page still knows
  const opened = await page.evaluate(() => new Promise(done => {
    const socket = new WebSocket(`ws://${location.host}/api/v1/ws`, 'tidegate.v1');
    socket.onmessage = event => { done(JSON.parse(event.data).op); socket.close(); };
    socket.onerror = () => done('error');
  }));
  assert.equal(opened, 'ready');
  await page.reload();
  await page.locator('#state[data-state=live]').waitFor();
  assert.equal(await page.textContent('#who'), user);

  // nothing that anybody publishes is more than text
  let number = 0;
  const refused = new Set();
  for (const shape of SHAPES) {
    for (const place of PLACES) {
      number += 1;
      const text = shape.replaceAll('{}', `ran.push(${number})`);
      const status = await {
        payload: () => publish('seen/payload', text),
        // a topic on the web has no control or format characters
        topic: () => publish(`seen/${text}`, 'x'),
        'content type': () => publish('seen/type', 'x', { type: /[^\x20-\x7e]/.test(text) ? 'text/html' : text }),
        'user property': () => publish('seen/user', 'x', { properties: { user: `${text.replaceAll('=', '\uff1d')}=${text}` } }),
        'answer topic': () => publish('seen/client', text, { type: 'text/html', properties: { response_topic: text } }),
      }[place]();
      assert.ok(status === 200 || status === 400, `${status} for ${place} ${text}`);
      if (status === 400) refused.add(place);
    }
  }
  assert.ok(number >= 200, `${number} texts`);
  // client identifiers
  let clients = 0;
  for (const shape of SHAPES) {
    number += 1;
    if (await publishAs(shape.replaceAll('{}', `ran.push(${number})`), 'seen/client', `published by ${number}`)) clients += 1;
  }
  assert.ok(clients >= 40, `${clients} of them are client identifiers`);
  assert.equal(await publish('seen/marker', 'the marker of the end'), 200);
  await page.locator('#messages').getByText('the marker of the end').waitFor();
  // every row opened, every view of it looked at, and taken over into the form
  const rows = await page.evaluate(async () => {
    const all = [...document.querySelectorAll('#messages details')];
    for (const details of all) {
      details.open = true;
      await new Promise(done => setTimeout(done));
      for (const button of details.querySelectorAll('.tools button')) button.click();
    }
    return all.length;
  });
  assert.ok(rows >= 150, `${rows} rows were looked at`);
  await look('scripts');
  assert.deepEqual(await page.evaluate(() => [window.ran, window.violations]), [[], []]);
  for (const text of ['<img src=x onerror=ran.push(1)>', '"><svg onload=ran.push(1)>', 'javascript:ran.push(1)']) {
    // an address that somebody else wrote, and a user that is none
    await page.goto('about:blank');
    await page.goto(`${origin}/#topic=${encodeURIComponent(text)}`);
    await page.locator('#filter').waitFor();
    assert.equal(await page.inputValue('#filter'), text);
    assert.deepEqual(await page.evaluate(() => [window.ran, window.violations]), [[], []]);
  }
  await page.goto('about:blank');
  await page.goto(`${origin}/#topic=${encodeURIComponent('seen/#')}`);
  await page.locator('#state[data-state=live]').waitFor();

  // users of such names: shown, and nothing else
  let users = 0;
  for (const shape of SHAPES) {
    number += 1;
    const name = shape.replaceAll('{}', `ran.push(${number})`);
    const login = await page.evaluate(async token => {
      const headers = { 'Content-Type': 'application/json' };
      const answer = await fetch('/auth/session', { method: 'POST', headers, body: JSON.stringify({ token }) });
      return [answer.status, (await answer.json()).user];
    }, token(name));
    if (login[0] === 401) continue;
    assert.deepEqual(login, [200, name]);
    users += 1;
    await page.reload();
    await page.locator('#state[data-state=live]').waitFor();
    const shown = await page.evaluate(() => [document.querySelector('#who').textContent, document.querySelector('#who').childElementCount]);
    // what cannot be seen is written out
    assert.deepEqual(shown, [name.replace(/[\u200b\u202e]/g, c => `\\u${c.codePointAt(0).toString(16)}`), 0]);
    assert.deepEqual(await page.evaluate(() => [window.ran, window.violations]), [[], []], name);
  }
  assert.ok(users >= 40, `${users} of them are users`);
  // written into the form by somebody who is none
  await page.click('#log-out');
  await page.locator('#login').waitFor();
  for (const shape of SHAPES) {
    await page.fill('#user', shape.replaceAll('{}', 'ran.push(0)'));
    await page.evaluate(() => { document.querySelector('#login-answer').textContent = ''; });
    await page.fill('#password', shape);
    await page.press('#password', 'Enter');
    await page.locator('#login-answer').filter({ hasText: /./ }).waitFor();
  }
  assert.deepEqual(await page.evaluate(() => [window.ran, window.violations]), [[], []]);
  await page.goto('about:blank');
  await context.clearCookies();
  await page.goto(`${origin}/#topic=${encodeURIComponent('seen/#')}`);
  await page.fill('#user', user);
  await page.fill('#password', password);
  await page.press('#password', 'Enter');
  await page.locator('#state[data-state=live]').waitFor();

  // an open page renews its session when half of it is over, and again
  const open = await context.newPage();
  await open.clock.install();
  await open.goto(`${origin}/#topic=${encodeURIComponent('seen/#')}`);
  await open.locator('#state[data-state=live]').waitFor();
  const expires = () => page.evaluate(() => fetch('/auth/session').then(answer => answer.json())).then(who => who.expires);
  for (let round = 0; round < 2; round++) {
    const before = await expires();
    const renewed = open.waitForResponse(answer => answer.request().method() === 'POST' && answer.url() === `${origin}/auth/session`);
    await open.clock.fastForward('06:00:01');
    const answer = await renewed;
    assert.equal(answer.status(), 200);
    assert.equal(answer.request().postData(), null, 'it knows no password any longer');
    assert.ok(await expires() > before, 'it ends later than it would have');
    assert.equal((await answer.json()).user, user);
    assert.equal(await open.locator('#state').getAttribute('data-state'), 'live');
  }
  await open.close();

  // without a stream it is the next publish that tells
  await page.click('#connect');
  await page.locator('#state[data-state=idle]').waitFor();
  await page.evaluate(() => fetch('/auth/session', { method: 'DELETE' }));
  await page.fill('#topic', 'seen/form');
  await page.click('#publish button[type=submit]');
  await page.locator('#login-answer').getByText('The login is over.').waitFor();
  await page.fill('#user', user);
  await page.fill('#password', password);
  await page.press('#password', 'Enter');
  await page.locator('#state[data-state=live]').waitFor();

  // the session ends elsewhere: the page notices, forgets what it showed, and asks
  assert.equal(await publish('seen/last', 'seen before the end'), 200);
  await page.getByText('seen before the end').first().waitFor();
  await page.evaluate(() => fetch('/auth/session', { method: 'DELETE' }));
  await page.locator('#login-answer').getByText('The login is over.').waitFor();
  assert.equal(await page.locator('#messages li').count(), 0);
  // and by its own button
  await page.fill('#user', user);
  await page.fill('#password', password);
  await page.press('#password', 'Enter');
  await page.locator('#state[data-state=live]').waitFor();
  await page.click('#log-out');
  await page.locator('#login').waitFor();
  assert.equal(await page.locator('#account').isVisible(), false);
  assert.deepEqual(await context.cookies(), []);
  assert.equal(await page.evaluate(() => fetch('/auth/session').then(answer => answer.status)), 401);
  await page.reload();
  await page.locator('#login').waitFor();

  assert.deepEqual(await page.evaluate(() => [window.ran, window.violations]), [[], []]);
  assert.deepEqual(complaints, [], 'the page complains about nothing');
  console.log('ok dashboard', number, [...refused].join(', '));
} finally {
  await browser.close();
}
