// SPDX-License-Identifier: Apache-2.0
/* The packets of harness.h. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/harness/inside.h"

/* A host behind the gateway. */
static const uint8_t remote4[4] = {203, 0, 113, 9};
static const uint8_t remote6[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 9, [15] = 9};

struct packet_spec spec_between(const uint8_t *own, size_t flow, enum direction direction, uint8_t version,
				uint8_t protocol)
{
	struct packet_spec spec = packet_spec_plain(version, protocol, (uint8_t)flow);
	const uint8_t *remote = version == 4 ? remote4 : remote6;
	size_t size = version == 4 ? sizeof remote4 : sizeof remote6;
	memcpy(spec.source, direction == TO_GATEWAY ? own : remote, size);
	memcpy(spec.destination, direction == TO_GATEWAY ? remote : own, size);
	return spec;
}

struct packet_spec harness_spec(struct harness *h, size_t client, enum direction direction, uint8_t version,
				uint8_t protocol)
{
	const struct session *session = h->clients[client].role.session;
	if (session == NULL)
		abort();
	return spec_between((version == 4 ? &session->inner4 : &session->inner6)->address.bytes, client, direction,
			    version, protocol);
}

static void store_sum(uint8_t *at, uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	store_be16(at, (uint16_t)~sum);
}

/* A UDP packet's IP header is what an echo needs, but for the protocol. */
size_t harness_echo(struct harness *h, size_t client, enum direction direction, uint8_t version, uint16_t sequence,
		    size_t size, uint8_t *packet)
{
	struct packet_spec spec = harness_spec(h, client, direction, version, IPPROTO_UDP);
	uint8_t data[TUN_PACKET_MAX];
	for (size_t i = 0; i < size; i++)
		data[i] = (uint8_t)(i + sequence);
	size_t length = packet_build(&spec, data, size, packet);
	uint8_t *icmp = packet + (version == 4 ? IPV4_HEADER_MIN : IPV6_HEADER_LENGTH);
	size_t upper = 8 + size;
	icmp[0] = version == 4 ? 8 : 128;
	icmp[1] = 0;
	store_be16(icmp + 2, 0);
	store_be16(icmp + 4, 0x5354);
	store_be16(icmp + 6, sequence);
	if (version == 4) {
		packet[IPV4_AT_PROTOCOL] = IPPROTO_ICMP;
		store_be16(packet + IPV4_AT_CHECKSUM, 0);
		store_sum(packet + IPV4_AT_CHECKSUM, packet_sum(packet, IPV4_HEADER_MIN));
		store_sum(icmp + 2, packet_sum(icmp, upper));
	} else {
		packet[IPV6_AT_NEXT_HEADER] = IPPROTO_ICMPV6;
		store_sum(icmp + 2, packet_sum(packet + IPV6_AT_SOURCE, 32) + (uint32_t)upper + IPPROTO_ICMPV6 +
					    packet_sum(icmp, upper));
	}
	return length;
}

void node_put_frame(struct node *node, const uint8_t *frame, size_t length)
{
	int result = tun_pair_put(&node->tun, frame, length);
	if (result != 0) {
		fprintf(stderr, "harness: TUN: %s\n", strerror(-result));
		abort();
	}
}

void node_put_packet(struct node *node, const uint8_t *packet, size_t length)
{
	uint8_t frame[TUN_FRAME_MAX] = {0};
	memcpy(frame + VNET_HEADER_SIZE, packet, length);
	node_put_frame(node, frame, VNET_HEADER_SIZE + length);
}

size_t node_waiting(const struct node *node)
{
	return node->frame_count;
}

const struct frame *node_take(struct node *node)
{
	if (node->frame_count == 0)
		return NULL;
	node->frame_count--;
	return &node->frames[node->frame_first++];
}

const uint8_t *node_take_packet(struct node *node, size_t *length)
{
	const struct frame *frame = node_take(node);
	struct virtio_net_hdr header;
	if (frame == NULL || frame->length < sizeof header)
		return NULL;
	memcpy(&header, frame->data, sizeof header);
	*length = frame->length - sizeof header;
	return header.gso_type == VIRTIO_NET_HDR_GSO_NONE ? frame->data + sizeof header : NULL;
}

bool harness_ping(struct harness *h, size_t client, enum direction direction)
{
	struct node *gateway = &h->gateway.node, *own = &h->clients[client].node;
	struct node *from = direction == TO_GATEWAY ? own : gateway, *to = direction == TO_GATEWAY ? gateway : own;
	uint8_t packet[256];
	size_t length = harness_echo(h, client, direction, 4, (uint16_t)(h->clock.monotonic / NS_PER_MS), 64, packet);
	node_put_packet(from, packet, length);
	harness_pump(h);
	size_t got_length = 0;
	const uint8_t *got = node_take_packet(to, &got_length);
	return got != NULL && got_length == length && memcmp(got, packet, length) == 0 && node_waiting(to) == 0;
}

uint32_t node_seal(struct node *node, struct session *session, struct transport_key *key, enum wire_type type,
		   const uint8_t *plaintext, uint32_t length, uint8_t *message)
{
	uint8_t padded[TUN_PACKET_MAX + AEAD_INPUT_SLACK] = {0};
	if (length != 0)
		memcpy(padded, plaintext, length);
	const struct aead_vtable *aead = key->aead;
	if (node->fast == NULL)
		key->aead = node->checked.real->suites[aead->suite]; /* a test may use a nonce again on purpose */
	transport_seal(node->worker->aead, key, session->id, type, padded, length, message);
	key->aead = aead;
	return key->dialect->overhead + length;
}
