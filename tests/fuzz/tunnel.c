// SPDX-License-Identifier: Apache-2.0
/* A gateway and two clients in one process, and an attacker that sends anything: datagrams from anywhere, messages
 * sealed under a client's own keys, packets into the TUN, time. Whatever happens, every packet is accounted for. */
#include "tests/fuzz/input.h"
#include "tests/harness/harness.h"

enum { STEPS = 64, LONGEST = 3000 };

/* The harness lives on from input to input, and what peers own is found from locked memory alone, where the detector of
 * leaks does not look. The unit tests watch for those. */
// NOLINTNEXTLINE(bugprone-reserved-identifier): the sanitizer's name
const char *__asan_default_options(void);
// NOLINTNEXTLINE(bugprone-reserved-identifier): the sanitizer's name
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

static struct harness *h;

static void connected(void)
{
	if (h != NULL && harness_gateway_session(h, 0) != NULL && harness_client_session(h, 0) != NULL)
		return;
	harness_free(h);
	h = harness_new(
		&(struct harness_options){.clients = 2, .networks = {{NULL}, {"192.168.7.0/24"}}, .reset = true});
	insist(h != NULL && harness_up(h), "both clients connect");
}

/* With a known header, if the first byte says so: the ID is on the wire in the clear. */
static void with_header(uint8_t choice, uint8_t *message, size_t length)
{
	const struct session *session = harness_gateway_session(h, choice >> 1 & 1);
	if ((choice & 1) == 0 || length < WIRE_TRANSPORT_HEADER_SIZE || session == NULL)
		return;
	if (message_is_wireguard(message)) {
		wg_header(message, (enum wg_type)message[0], wg_index(session->id, session->view.epoch));
		return;
	}
	store_be32(message + 1, session->id);
	if ((choice & 4) != 0 && session->current != NULL)
		message[0] = (uint8_t)(session->current->epoch << 4 | (message[0] & 15));
}

static void inject(struct link *to, struct sockaddr_in6 from, uint8_t *message, uint32_t length, uint16_t segment,
		   uint8_t ecn)
{
	struct udp_message datagram = {.data = message,
				       .length = length,
				       .segment_size = segment < length ? segment : 0,
				       .ecn = ecn & 3,
				       .endpoint = {.remote = from}};
	if (length != 0)
		(void)link_inject(to, &datagram);
}

static struct sockaddr_in6 somewhere(uint8_t choice)
{
	if (choice & 1)
		return h->clients[choice >> 1 & 1].node.link.address;
	return network_address(choice & 2 ? "203.0.113.9" : "2001:db8::9", (uint16_t)(1024 + choice));
}

static void sealed_datagram(struct input *input, struct node *from, struct session *session, struct link *to,
			    struct sockaddr_in6 address)
{
	uint8_t plain[LONGEST], message[LONGEST + WIRE_OVERHEAD];
	uint8_t type = input_byte(input) & 15, ecn = input_byte(input);
	uint32_t length = (uint32_t)input_bytes(input, plain, sizeof plain);
	if (session == NULL || session->current == NULL || transport_key_spent(session->current))
		return;
	length = node_seal(from, session, session->current, (enum wire_type)type, plain, length, message);
	inject(to, address, message, length, 0, ecn);
}

/* The second client's half of a WireGuard key of its session. */
static struct transport_key *half;

/* A handshake of that protocol, at both ends. */
static void agree(struct session *session)
{
	static uint64_t serial;
	struct noise_keys secrets = {0};
	uint8_t epoch = (uint8_t)wire_next_epoch(session->view.epoch);
	uint64_t now = h->clock.monotonic;
	store_be64(secrets.initiator_to_responder, ++serial); /* no key comes twice */
	store_be64(secrets.responder_to_initiator, ++serial);
	transport_key_free(half);
	half = transport_key_new_wireguard(h->clients[1].node.worker->aead, epoch, &secrets, TRANSPORT_CLIENT,
					   wg_index(session->id, epoch), now);
	struct transport_key *other = transport_key_new_wireguard(h->gateway.node.worker->aead, epoch, &secrets,
								  TRANSPORT_GATEWAY, 7, now);
	insist(half != NULL && other != NULL, "memory");
	session_set_next(session, other, now);
	session->next_from = session->endpoint;
	session->next_mtu = session->mtu;
}

static void wireguard_datagram(struct input *input, struct link *to, struct sockaddr_in6 address)
{
	uint8_t plain[LONGEST], message[LONGEST + WG_OVERHEAD];
	struct session *session = harness_gateway_session(h, 1);
	uint8_t how = input_byte(input);
	uint32_t length = (uint32_t)input_bytes(input, plain, sizeof plain);
	if (session == NULL)
		return;
	const struct transport_key *own = half != NULL ? session_key(session, wg_index_epoch(half->receiver)) : NULL;
	bool agreed = own != NULL && own->dialect == &dialect_wireguard &&
		      half->receiver == wg_index(session->id, own->epoch);
	if (!agreed || how % 16 == 0)
		agree(session);
	if ((how & 16) != 0)
		half->send_counter += (uint64_t)how << (how & 63);
	length = node_seal(&h->clients[1].node, session, half, WIRE_DATA, plain, length, message);
	inject(to, address, message, length, 0, how >> 6);
}

static void step(struct input *input)
{
	uint8_t data[LONGEST];
	struct link *gateway = &h->gateway.node.link, *client = &h->clients[0].node.link;
	uint8_t what = input_byte(input), choice = input_byte(input);
	switch (what % 8) {
	case 0: /* from anywhere to the gateway, perhaps as a train */
	case 1: /* from anywhere to the client */
	{
		uint16_t segment = input_byte(input);
		uint32_t length = (uint32_t)input_bytes(input, data, sizeof data);
		with_header(choice, data, length);
		inject(what % 8 == 0 ? gateway : client, what % 8 == 0 ? somewhere(choice >> 3) : h->gateway_address,
		       data, length, segment, choice >> 6);
		break;
	}
	case 2: /* an authentic client that is out for trouble, where it is or from elsewhere */
		sealed_datagram(input, &h->clients[0].node, harness_client_session(h, 0), gateway, somewhere(choice));
		break;
	case 3: /* an authentic gateway */
		sealed_datagram(input, &h->gateway.node, harness_gateway_session(h, 0), client, h->gateway_address);
		break;
	case 4:
	case 5: {
		size_t length = input_bytes(input, data, TUN_PACKET_MAX < LONGEST ? TUN_PACKET_MAX : LONGEST);
		if (length != 0)
			node_put_packet(what % 8 == 4 ? &h->gateway.node : &h->clients[0].node, data, length);
		break;
	}
	case 6: /* an authentic WireGuard client that is */
		wireguard_datagram(input, gateway, somewhere(choice));
		break;
	default:
		harness_advance(h, (1 + choice % 8) * WORKER_TICK_NS);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	connected();
	for (unsigned i = 0; i < STEPS && input.left > 0; i++)
		step(&input);
	harness_pump(h);
	const char *problem = harness_problem(h);
	insist(problem == NULL, problem != NULL ? problem : "");
	while (node_take(&h->gateway.node) != NULL || node_take(&h->clients[0].node) != NULL ||
	       node_take(&h->clients[1].node) != NULL)
		continue;
	return 0;
}
