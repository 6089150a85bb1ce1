// The same publish as a line for a shell.
//
// A message here is { topic, bytes, text (or null), qos, retain, contentType, expiry, user: [[name, value]] }.

/** The address that publishes `message`, without host. */
export function publishPath({ topic, qos, retain, expiry, user }) {
  const query = new URLSearchParams([['topic', topic], ['qos', qos]]);
  if (retain) query.set('retain', 'true');
  if (expiry) query.set('expiry', expiry);
  for (const [name, value] of user) query.append('user', `${name}=${value}`);
  return `api/v1/topics?${query}`;
}

// What is said of a gateway here is what it says of itself at /api/v1; null if it was not asked.

/** A curl command that publishes `message` at the gateway whose pages are below `base`. */
export function asCurl(message, base, gateway = null) {
  const words = ['curl'];
  if (needsUser(gateway)) words.push('-u', 'USER:PASSWORD');
  if (message.contentType) words.push('-H', quoted(`Content-Type: ${message.contentType}`));
  const inline = canBeWritten(message);
  words.push(...(inline ? ['--data-raw', quoted(message.text)] : ['--data-binary', '@-']));
  words.push(quoted(new URL(publishPath(message), base).href));
  return (inline ? '' : `${printed(message.bytes)} | `) + words.join(' ');
}

/** A mosquitto_pub command that publishes `message` at `host`. */
export function asMosquitto(message, host, gateway = null) {
  const words = ['mosquitto_pub', '-V', 'mqttv5', '-h', quoted(host), ...portOf(gateway)];
  if (needsUser(gateway)) words.push('-u', 'USER', '-P', 'PASSWORD');
  words.push('-t', quoted(message.topic), '-q', message.qos);
  if (message.retain) words.push('-r');
  if (message.contentType) words.push('-D', 'publish', 'content-type', quoted(message.contentType));
  if (message.expiry) words.push('-D', 'publish', 'message-expiry-interval', message.expiry);
  for (const [name, value] of message.user) words.push('-D', 'publish', 'user-property', quoted(name), quoted(value));
  if (!message.bytes.length) return [...words, '-n'].join(' ');
  if (canBeWritten(message)) return [...words, '-m', quoted(message.text)].join(' ');
  return `${printed(message.bytes)} | ${[...words, '-s'].join(' ')}`;
}

function needsUser(gateway) {
  return gateway !== null && !gateway.auth.includes('anonymous');
}

// 1883 is what it takes if nothing is said
function portOf(gateway) {
  const { port, tls_port: tls } = gateway?.mqtt ?? {};
  if (port) return port === 1883 ? [] : ['-p', port];
  return tls ? ['-p', tls, '--tls-use-os-certs'] : [];
}

// an argument cannot hold NUL, nor bytes that are no text
function canBeWritten({ text }) {
  return text !== null && !text.includes('\0');
}

function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

function printed(bytes) {
  return `printf '${Array.from(bytes, (byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('')}'`;
}
