// The dashboard of a gateway with users, in headless Chromium: it asks for a password, shows what the user may see, and
// asks again when that is over. Then hundreds of texts that would like to be scripts, shown everywhere.
// Usage: node dashboard.mjs HTTP_PORT CHROMIUM USER PASSWORD [SCREENSHOTS]
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

const [httpPort, executablePath, user, password, screenshots] = process.argv.slice(2);
// a name, since browsers take cookies with __Host- over plain HTTP from this machine alone
const origin = `http://localhost:${httpPort}`;
const basic = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;

setTimeout(() => {
  console.error('no result within 110 s');
  process.exit(1);
}, 110_000).unref();

async function publish(topic, payload, { type, properties = {} } = {}) {
  const query = new URLSearchParams([['topic', topic], ...Object.entries(properties)]);
  const headers = { Authorization: basic, ...(type ? { 'Content-Type': type } : {}) };
  const answer = await fetch(`${origin}/api/v1/topics?${query}`, { method: 'POST', headers, body: payload });
  return answer.status;
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
