"""Eclipse Paho for Python against a gateway: every version, both transports, every QoS.

Usage: paho_client.py HOST MQTT_PORT HTTP_PORT
"""

import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

DEADLINE = 20
VERSIONS = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}


class Peer:
    """A connected client whose events can be waited for."""

    def __init__(self, transport, version, port, host):
        self.events = queue.Queue()
        self.messages = queue.Queue()
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=f"paho-{transport}-{version}".replace(".", ""),
            protocol=VERSIONS[version],
            transport=transport,
        )
        if transport == "websockets":
            self.client.ws_set_options(path="/mqtt")
        self.client.on_connect = lambda c, u, f, reason, p: self.events.put(("connect", reason))
        self.client.on_subscribe = lambda c, u, mid, reasons, p: self.events.put(("subscribe", reasons))
        self.client.on_message = lambda c, u, message: self.messages.put(message)
        self.client.connect(host, port, keepalive=30)
        self.client.loop_start()
        self.expect("connect")

    def expect(self, name):
        event, reason = self.events.get(timeout=DEADLINE)
        assert event == name, f"{name} expected, not {event}"
        reasons = reason if isinstance(reason, list) else [reason]
        assert not any(r.is_failure for r in reasons), f"{name} failed: {reasons}"

    def leave(self):
        self.client.disconnect()
        self.client.loop_stop()


def conversation(transport, version, port, host):
    """Publishes to itself at every QoS and compares what comes back."""
    peer = Peer(transport, version, port, host)
    topic = f"interop/paho/{transport}/{version}"
    peer.client.subscribe(topic, qos=2)
    peer.expect("subscribe")
    for qos in (0, 1, 2):
        for payload in (b"", "Grüße".encode(), bytes(range(256)) * 16):
            properties = None
            if version == "5":
                properties = Properties(PacketTypes.PUBLISH)
                properties.UserProperty = [("a", "1"), ("a", "2")]
                properties.ContentType = "text/plain"
            peer.client.publish(topic, payload, qos=qos, properties=properties).wait_for_publish(DEADLINE)
            got = peer.messages.get(timeout=DEADLINE)
            assert (got.topic, got.payload, got.qos, got.retain) == (topic, payload, qos, False), got
            if version == "5":
                assert got.properties.UserProperty == [("a", "1"), ("a", "2")], got.properties
                assert got.properties.ContentType == "text/plain", got.properties
    assert peer.messages.empty(), "something came twice"
    peer.leave()
    print(f"ok {transport} {version}", flush=True)


def main():
    host, mqtt_port, http_port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    for version in VERSIONS:
        conversation("tcp", version, mqtt_port, host)
    # paho offers the subprotocol `mqtt` whatever the version
    for version in VERSIONS:
        conversation("websockets", version, http_port, host)


main()
