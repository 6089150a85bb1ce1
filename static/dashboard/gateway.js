// The line that says what gateway this is and what it promises.

import { byteCount } from './text.js';

const EVERY_MS = 30_000;

/** Keeps `line` telling what `/api/v1` says, and `heard` knowing it, for as long as the page is open. */
export function watchGateway(line, heard) {
  const look = async () => {
    if (document.hidden) return;
    try {
      const response = await fetch('api/v1', { cache: 'no-store', signal: AbortSignal.timeout(EVERY_MS / 2) });
      if (!response.ok) throw new Error(`it answered ${response.status}`);
      const gateway = await response.json();
      show(line, gateway);
      heard(gateway);
    } catch (error) {
      line.dataset.state = 'down';
      line.textContent = `The gateway cannot be reached: ${error.message}`;
    }
  };
  look();
  setInterval(look, EVERY_MS);
  document.addEventListener('visibilitychange', look);
}

function show(line, gateway) {
  delete line.dataset.state;
  const version = document.createElement('b');
  version.textContent = gateway.version ?? '';
  const rest = [gateway.durability && `durability ${gateway.durability}`];
  if (gateway.limits?.payload) rest.push(`payloads up to ${byteCount(gateway.limits.payload)}`);
  if (gateway.auth?.every((way) => way === 'anonymous')) rest.push('no users');
  line.replaceChildren('version ', version, ...rest.filter(Boolean).map((part) => ` · ${part}`));
}
