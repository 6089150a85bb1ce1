// Wires the page together. Everything it knows it has from the gateway's public API.

import { LiveMessages } from './dashboard/live.js';
import { PublishForm } from './dashboard/publish.js';
import { watchGateway } from './dashboard/gateway.js';

watchGateway(document.querySelector('#gateway'));
const form = new PublishForm(document);
const live = new LiveMessages(document, { reuse: (message) => form.fill(message) });

// a filter in the address makes a view that can be kept as a bookmark
live.listen(new URLSearchParams(location.hash.slice(1)).get('topic') ?? '#');
