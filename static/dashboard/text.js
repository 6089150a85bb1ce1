// Text from strangers, made safe to look at, and numbers made easy to read. Markup is no concern: it all goes
// through textContent.

// control characters, and those that turn or hide the text around them
const DECEIVING = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
const NAMED = { '\n': '⏎', '\r': '␍', '\t': '⇥' };

/** One line in which everything invisible can be seen. */
export function visible(text) {
  return text.replace(DECEIVING, (c) => NAMED[c] ?? `\\u${c.codePointAt(0).toString(16).padStart(4, '0')}`);
}

/** As `visible`, but line ends and tabs stay what they are. */
export function visibleLines(text) {
  return text.replace(DECEIVING, (c) => (c in NAMED && c !== '\r' ? c : visible(c)));
}

/** 1536 → "1.5 KiB" */
export function byteCount(bytes) {
  for (const [unit, size] of [['GiB', 2 ** 30], ['MiB', 2 ** 20], ['KiB', 2 ** 10]]) {
    if (bytes >= size) return `${+(bytes / size).toFixed(1)} ${unit}`;
  }
  return `${bytes} B`;
}

const NUMBER = new Intl.NumberFormat('en');

/** 12345 → "12,345" */
export function count(number) {
  return NUMBER.format(number);
}

/** The local time of day to the millisecond, from an RFC 3339 text; what is no time stays as it is. */
export function timeOfDay(text) {
  const moment = new Date(text ?? Date.now());
  if (Number.isNaN(moment.getTime())) return visible(String(text));
  const two = (n) => String(n).padStart(2, '0');
  const millis = String(moment.getMilliseconds()).padStart(3, '0');
  return `${two(moment.getHours())}:${two(moment.getMinutes())}:${two(moment.getSeconds())}.${millis}`;
}

/** A new element with a class and a text. */
export function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}
