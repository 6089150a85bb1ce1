// All that a page can send to another origin by itself, and all the ways it could read what comes back.

/**
 * Runs inside a page, so it knows nothing but its argument. Gives what it could read (`leaks`), which WebSockets opened,
 * how much it sent and how much of that must have reached the gateway, and the topics that it named in what a trusted page may send.
 */
export async function attempts({ gateway, user, password, name }) {
  const place = name.replace(/[^a-z0-9]+/g, '-');
  const [leaks, opened, named] = [[], [], []];
  let [sent, acted] = [0, 0];
  const within = (promise, otherwise) => Promise.race([promise, new Promise(done => setTimeout(done, 5_000, otherwise))]);
  const topic = () => `done/${place}/${++sent}`;
  const login = JSON.stringify({ user, password });
  const wish = JSON.stringify({ topics: ['done/#'], actions: ['publish', 'subscribe'] });
  const batch = () => JSON.stringify({ messages: [{ topic: topic(), payload: 'x' }] });
  // what changes something: where, and with what
  const acts = () => {
    const [first, second, third] = [topic(), topic(), topic()];
    return [
      { url: `/api/v1/topics/${first}`, text: 'x', topic: first },
      { url: `/api/v1/topics?${new URLSearchParams([['topic', second], ['retain', 'true']])}`, text: 'x', topic: second },
      // a ticket that is none proves nothing, and the cookie does not stand in for it
      { url: `/api/v1/messages`, text: batch() },
      { url: '/auth/session', text: login },
      { url: '/auth/tickets', text: wish },
    ];
  };

  // forms, in their three ways to be written; a field can be named so that the whole is JSON
  const submit = async (url, text, enctype, method) => {
    const frame = document.createElement('iframe');
    frame.name = `frame${++sent}`;
    document.body.append(frame);
    const form = Object.assign(document.createElement('form'), { action: gateway + url, method, enctype, target: frame.name });
    const field = document.createElement('input');
    const isJson = text.endsWith('}') && enctype === 'text/plain';
    field.name = isJson ? `${text.slice(0, -1)},"x":"` : text;
    field.value = isJson ? '"}' : '1';
    form.append(field);
    document.body.append(form);
    const loaded = new Promise(done => frame.addEventListener('load', done));
    form.submit();
    await within(loaded);
    try {
      if (frame.contentDocument?.body?.textContent) leaks.push(`form ${enctype} ${url}`);
    } catch { /* another origin's */ }
  };
  for (const enctype of ['application/x-www-form-urlencoded', 'multipart/form-data', 'text/plain']) {
    for (const act of acts()) {
      await submit(act.url, act.text, enctype, 'post');
      acted += 1;
      if (act.topic) named.push(act.topic);
    }
    await submit('/api/v1/topics/kept/text', 'x', enctype, 'get');
  }

  // fetch: what needs no leave is sent, whatever becomes of the answer
  const read = async (what, url, options) => {
    sent += 1;
    const answer = await within(fetch(gateway + url, { credentials: 'include', ...options }).catch(() => null), null);
    if (answer && answer.type !== 'opaque') leaks.push(`${what} ${url}: ${answer.status}`);
    if (answer && await answer.text().catch(() => '')) leaks.push(`${what} ${url}: its body`);
  };
  const bodies = [
    text => text, text => new Blob([text]), text => new Blob([text], { type: 'text/plain' }), text => new URLSearchParams([[text, '']]),
    text => { const form = new FormData(); form.set(text, ''); return form; },
  ];
  for (const mode of ['no-cors', 'cors']) {
    for (const body of bodies) {
      for (const act of acts()) {
        await read(mode, act.url, { method: 'POST', mode, body: body(act.text) });
        acted += 1;
        if (act.topic) named.push(act.topic);
      }
    }
    // these need the gateway's leave, and a page that does not ask for it cannot send them at all
    const json = { 'Content-Type': 'application/json' };
    for (const method of ['PUT', 'PATCH', 'DELETE', 'QUERY']) await read(mode, '/api/v1/topics/kept/text', { method, mode });
    await read(mode, '/auth/session', { method: 'DELETE', mode });
    if (mode === 'cors') {
      for (const act of acts()) await read(mode, act.url, { method: 'POST', headers: json, body: act.text });
      await read(mode, `/api/v1/topics/${topic()}`, { method: 'POST', body: 'x', headers: { Authorization: 'Bearer x' } });
    }
  }
  await read('keepalive', '/auth/session', { method: 'POST', mode: 'no-cors', keepalive: true });
  acted += 1;
  // a ticket that is none is no reason to take the cookie
  await read('a ticket', `/api/v1/topics/kept/text?ticket=x`, { mode: 'cors' });

  // beacons
  for (const body of bodies) {
    for (const act of acts()) {
      if (navigator.sendBeacon(gateway + act.url, body(act.text))) acted += 1;
      if (act.topic) named.push(act.topic);
    }
  }
  for (const act of acts()) navigator.sendBeacon(gateway + act.url, new Blob([act.text], { type: 'application/json' }));

  // what is there to be read
  const kept = ['text', 'script', 'style', 'image'].map(name => `/api/v1/topics/kept/${name}`);
  const places = [
    ...kept, '/api/v1/topics/kept/nothing', '/api/v1/topics?topic=kept/text', '/api/v1/messages?topic=kept/%23', '/auth/session',
    '/api/v1/auth/check?action=publish&topic=kept/text', '/metrics', '/api/v1', '/openapi.json', '/', '/app.js', '/healthz',
  ];
  for (const url of places) {
    for (const mode of ['no-cors', 'cors']) await read(mode, url, { mode });
    const request = new XMLHttpRequest();
    request.withCredentials = true;
    request.open('GET', gateway + url);
    const ended = new Promise(done => { request.onloadend = done; });
    request.send();
    await within(ended);
    if (request.status || request.responseText) leaks.push(`XMLHttpRequest ${url}`);
  }
  // the elements of a page: none may even tell whether there is something
  const loads = async (tag, url, attributes) => {
    sent += 1;
    const element = document.createElement(tag);
    const end = new Promise(done => {
      element.addEventListener('load', () => done(true));
      for (const event of ['loadeddata', 'loadedmetadata']) element.addEventListener(event, () => done(true));
      element.addEventListener('error', () => done(false));
    });
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    document.body.append(element);
    if (await within(end, false)) leaks.push(`${tag} ${JSON.stringify(attributes)} loads`);
    if (element.naturalWidth) leaks.push(`${tag} ${url} shows`);
    element.remove();
  };
  await Promise.all(places.map(async path => {
    const url = gateway + path;
    await Promise.all([
      loads('img', url, { src: url }), loads('script', url, { src: url }), loads('script', url, { src: url, type: 'module' }),
      loads('link', url, { rel: 'stylesheet', href: url }), loads('video', url, { src: url }), loads('audio', url, { src: url }),
    ]);
    if (await import(url).then(() => true, () => false)) leaks.push(`import ${path}`);
    const frame = document.createElement('iframe');
    const loaded = new Promise(done => frame.addEventListener('load', done));
    frame.src = url;
    document.body.append(frame);
    await within(loaded);
    try {
      if (frame.contentDocument?.body?.textContent) leaks.push(`iframe ${path}`);
    } catch { /* another origin's */ }
    sent += 1;
  }));
  if (window.leaked || getComputedStyle(document.body).getPropertyValue('--leaked')) leaks.push('a script or a style was taken');

  // streams
  for (const url of ['/api/v1/stream?topic=kept/%23', '/api/v1/stream?topic=kept/%23&ticket=x']) {
    for (const withCredentials of [true, false]) {
      sent += 1;
      const events = new EventSource(gateway + url, { withCredentials });
      const first = await within(new Promise(done => {
        for (const name of ['open', 'ready', 'message', 'bye']) events.addEventListener(name, () => done(name));
        events.onerror = () => done('error');
      }), 'nothing');
      if (first !== 'error') leaks.push(`EventSource ${url}: ${first}`);
      events.close();
    }
  }
  for (const [path, protocol] of [['/mqtt', 'mqtt'], ['/ws', 'mqtt'], ['/', 'mqtt'], ['/api/v1/ws', 'tidegate.v1']]) {
    sent += 1;
    acted += 1;
    const socket = new WebSocket(gateway.replace('http', 'ws') + path, protocol);
    const opens = await within(new Promise(done => {
      socket.onopen = () => done(true);
      socket.onerror = () => done(false);
    }), false);
    if (opens) opened.push(path);
    socket.close();
  }
  return { leaks, opened, named, sent, acted };
}
