// Wires the page together. Everything it knows it has from the gateway's public API.

import { LiveMessages } from './dashboard/live.js';
import { Login } from './dashboard/login.js';
import { PublishForm } from './dashboard/publish.js';
import { watchGateway } from './dashboard/gateway.js';

const unknown = () => login.again();
const form = new PublishForm(document, { unknown });
watchGateway(document.querySelector('#gateway'), (gateway) => { form.gateway = gateway; });
const live = new LiveMessages(document, { reuse: (message) => form.fill(message), unknown });
const login = new Login(document, {
  // a filter in the address makes a view that can be kept as a bookmark
  entered: () => live.listen(new URLSearchParams(location.hash.slice(1)).get('topic') ?? '#'),
  left: () => {
    live.forget();
    form.forget();
  },
});
login.begin();
