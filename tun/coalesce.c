// SPDX-License-Identifier: Apache-2.0
#include "tun/coalesce.h"

#include <limits.h>
#include <stdlib.h>

#include "core/base/bytes.h"
#include "core/base/hot.h"
#include "tun/checksum.h"

enum {
	FENCES = 256,
	PACKETS_MAX = 1 << 20,	     /* of a batch: keeps every index and size far inside 32 bits */
	TCP_MERGE_MAX = IOV_MAX - 1, /* one writev() takes IOV_MAX pieces, the first is the virtio-net header */
	UDP_MERGE_MAX = 64,	     /* UDP_MAX_SEGMENTS of Linux 6.2; the write of a larger one fails */
};

/* Addresses (IPv4: one word), then ports, protocol and version: all zero for a packet without ports. */
struct flow {
	uint64_t words[5];
};

/* One frame to be: a packet, or a super-packet that grows. */
struct entry {
	struct flow flow;
	uint64_t hash;
	struct inner head; /* the first packet, unchanged until the frames are taken */
	struct virtio_net_hdr header;
	bool verified;
	bool open;	  /* another packet may be merged */
	bool push;	  /* the last packet's PSH */
	uint16_t last_id; /* IPv4 */
	uint16_t id_step; /* from one packet to the next: 1, or 0; once there are two */
	uint32_t next_sequence;
	uint32_t payload_size; /* of each packet but the last */
	uint32_t length;       /* of the whole, with one header */
	uint32_t packets;
	uint32_t first_piece, last_piece;
};

struct coalescer {
	struct tun_offloads offloads;
	size_t capacity;
	size_t packet_count;
	size_t entry_count;
	struct entry *entries;
	struct entry *last; /* the entry touched last: most packets belong to the flow of the one before */

	/* One piece for each packet, the head's whole and the others' payload, linked in the order of a frame. */
	struct iovec *pieces;
	uint32_t *next_piece;

	/* Hash of a flow to its newest entry. When two flows share a slot, only merging is lost. A stale slot is
	 * recognised by the entry that it leads to, so none is cleared between batches. */
	uint32_t *slots;
	size_t slot_mask;

	/* Hash of two addresses to the number of entries that were there when a packet without ports came between them:
	 * it may be a fragment of any of their flows, so those entries are closed. */
	uint32_t fences[FENCES];
	bool fenced;

	struct iovec *iov;
	struct tun_frame *frames;
	struct owner owner;
};

struct coalescer *coalescer_new(size_t packets, struct tun_offloads offloads)
{
	struct coalescer *coalescer = packets && packets <= PACKETS_MAX ? calloc(1, sizeof *coalescer) : NULL;
	size_t slots = 64;

	if (!coalescer)
		return NULL;
	while (slots < 8 * packets)
		slots *= 2;
	coalescer->offloads = offloads;
	coalescer->capacity = packets;
	coalescer->slot_mask = slots - 1;
	coalescer->entries = calloc(packets, sizeof *coalescer->entries);
	coalescer->pieces = calloc(packets, sizeof *coalescer->pieces);
	coalescer->next_piece = calloc(packets, sizeof *coalescer->next_piece);
	coalescer->slots = calloc(slots, sizeof *coalescer->slots);
	/* One for each packet, and one for the header of each frame. */
	coalescer->iov = calloc(2 * packets, sizeof *coalescer->iov);
	coalescer->frames = calloc(packets, sizeof *coalescer->frames);
	if (!coalescer->entries || !coalescer->pieces || !coalescer->next_piece || !coalescer->slots ||
	    !coalescer->iov || !coalescer->frames) {
		coalescer_free(coalescer);
		return NULL;
	}
	return coalescer;
}

void coalescer_free(struct coalescer *coalescer)
{
	if (!coalescer)
		return;
	free(coalescer->frames);
	free(coalescer->iov);
	free(coalescer->slots);
	free(coalescer->next_piece);
	free(coalescer->pieces);
	free(coalescer->entries);
	free(coalescer);
}

void coalescer_own(struct coalescer *coalescer, const struct owner *owner)
{
	owner_follow(&coalescer->owner, owner);
}

static uint16_t load16(const uint8_t *at)
{
	uint16_t value;
	memcpy(&value, at, sizeof value);
	return value;
}

static uint32_t load32(const uint8_t *at)
{
	uint32_t value;
	memcpy(&value, at, sizeof value);
	return value;
}

static void flow_read(struct flow *flow, const struct inner *inner)
{
	*flow = (struct flow){0};
	if (inner->version == 4)
		memcpy(flow->words, inner->data + IPV4_AT_SOURCE, 8);
	else
		memcpy(flow->words, inner->data + IPV6_AT_SOURCE, 32);
	if (inner->upper_length)
		flow->words[4] = (uint64_t)load32(inner->data + inner->ip_length) << 32 |
				 (uint64_t)inner->protocol << 8 | inner->version;
}

static bool flow_equal(const struct flow *a, const struct flow *b)
{
	uint64_t differ = 0;

	for (size_t i = 0; i < ARRAY_SIZE(a->words); i++)
		differ |= a->words[i] ^ b->words[i];
	return !differ;
}

/* A multiplication folded to its width, so that every bit of a word reaches the low bits that choose a slot. */
static uint64_t hash_words(const uint64_t *words, size_t count)
{
	const uint64_t golden = 0x9e3779b97f4a7c15u;
	uint64_t hash = golden;

	for (size_t i = 0; i < count; i++) {
		unsigned __int128 product = (unsigned __int128)(hash ^ words[i]) * golden;
		hash = (uint64_t)product ^ (uint64_t)(product >> 64);
	}
	return hash;
}

static uint32_t *fence_of(struct coalescer *coalescer, const struct flow *flow)
{
	return &coalescer->fences[hash_words(flow->words, 4) % FENCES];
}

/* Finds the flow's newest entry; false when the batch has none or a fence came since. Sets the hash in any case. */
static bool find(struct coalescer *coalescer, const struct flow *flow, struct entry **entry, uint64_t *hash)
{
	if (coalescer->last && flow_equal(&coalescer->last->flow, flow)) {
		*entry = coalescer->last;
		*hash = coalescer->last->hash;
		return true;
	}
	*hash = hash_words(flow->words, ARRAY_SIZE(flow->words));
	uint32_t index = coalescer->slots[*hash & coalescer->slot_mask];
	if (index >= coalescer->entry_count || !flow_equal(&coalescer->entries[index].flow, flow))
		return false;
	*entry = &coalescer->entries[index];
	return !coalescer->fenced || index >= *fence_of(coalescer, flow);
}

/* Whether a packet could be part of a super-packet at all. */
static bool mergeable(const struct coalescer *coalescer, const struct inner *inner, uint32_t payload)
{
	const uint8_t *upper = inner->data + inner->ip_length;

	if (!payload || (inner->version == 4 && load16(inner->data + IPV4_AT_CHECKSUM) == UINT16_MAX))
		return false;
	if (inner->protocol == IPPROTO_UDP)
		return coalescer->offloads.uso;
	return coalescer->offloads.tso && (upper[TCP_AT_FLAGS] & ~TCP_PSH) == TCP_ACK &&
	       load16(upper + TCP_AT_CHECKSUM) != UINT16_MAX;
}

/* Both protocols' options are whole words, and mostly none or three: a call would cost more than to compare them. */
static bool options_equal(const uint8_t *a, const uint8_t *b, uint32_t length)
{
	for (uint32_t at = 0; at < length; at += 4)
		if (load32(a + at) != load32(b + at))
			return false;
	return true;
}

/* The second packet decides whether IDs count up or stay; without DF they must count up. */
static bool id_fits(const struct entry *entry, const uint8_t *ip)
{
	uint16_t step = (uint16_t)(load_be16(ip + IPV4_AT_ID) - entry->last_id);

	if (entry->packets > 1)
		return step == entry->id_step;
	return step == 1 || (step == 0 && load_be16(ip + IPV4_AT_FRAGMENT) & IPV4_DONT_FRAGMENT);
}

static bool ip_headers_fit(const struct entry *entry, const struct inner *inner)
{
	const uint8_t *head = entry->head.data, *ip = inner->data;

	if (inner->version == 6) /* version, traffic class, flow label; next header, hop limit */
		return load32(head) == load32(ip) &&
		       load16(head + IPV6_AT_NEXT_HEADER) == load16(ip + IPV6_AT_NEXT_HEADER);
	/* Version, header length, TOS; flags and offset, TTL, protocol. */
	return load16(head) == load16(ip) && load32(head + IPV4_AT_FRAGMENT) == load32(ip + IPV4_AT_FRAGMENT) &&
	       id_fits(entry, ip) &&
	       options_equal(head + IPV4_HEADER_MIN, ip + IPV4_HEADER_MIN, inner->ip_length - IPV4_HEADER_MIN);
}

static bool tcp_headers_fit(const struct entry *entry, const struct inner *inner)
{
	const uint8_t *head = entry->head.data + entry->head.ip_length, *tcp = inner->data + inner->ip_length;

	return load_be32(tcp + TCP_AT_SEQUENCE) == entry->next_sequence &&
	       load32(head + TCP_AT_ACKNOWLEDGEMENT) == load32(tcp + TCP_AT_ACKNOWLEDGEMENT) &&
	       head[TCP_AT_DATA_OFFSET] == tcp[TCP_AT_DATA_OFFSET] &&
	       load16(head + TCP_AT_WINDOW) == load16(tcp + TCP_AT_WINDOW) &&
	       load16(head + TCP_AT_URGENT) == load16(tcp + TCP_AT_URGENT) &&
	       options_equal(head + TCP_HEADER_MIN, tcp + TCP_HEADER_MIN, inner->upper_length - TCP_HEADER_MIN);
}

/* Whether a mergeable packet of the entry's flow continues it. */
static bool continues(const struct entry *entry, const struct inner *inner, uint32_t payload)
{
	bool tcp = inner->protocol == IPPROTO_TCP;

	return entry->open && payload <= entry->payload_size && entry->length + payload <= TUN_PACKET_MAX &&
	       entry->packets < (tcp ? TCP_MERGE_MAX : UDP_MERGE_MAX) && ip_headers_fit(entry, inner) &&
	       (!tcp || tcp_headers_fit(entry, inner));
}

static bool has_push(const struct inner *inner)
{
	return inner->protocol == IPPROTO_TCP && inner->data[inner->ip_length + TCP_AT_FLAGS] & TCP_PSH;
}

static void append(struct coalescer *coalescer, struct entry *entry, const struct inner *inner, uint32_t payload)
{
	uint32_t piece = (uint32_t)coalescer->packet_count++;
	uint16_t id = load_be16(inner->data + IPV4_AT_ID);

	coalescer->pieces[piece] = (struct iovec){.iov_base = inner->data + inner->length - payload,
						  .iov_len = payload};
	coalescer->next_piece[entry->last_piece] = piece;
	entry->last_piece = piece;
	entry->packets++;
	entry->length += payload;
	entry->next_sequence += payload;
	entry->id_step = (uint16_t)(id - entry->last_id);
	entry->last_id = id;
	entry->push = has_push(inner);
	entry->open = !entry->push && payload == entry->payload_size;
}

HOT static struct entry *start(struct coalescer *coalescer, const struct inner *inner)
{
	struct entry *entry = &coalescer->entries[coalescer->entry_count++];
	uint32_t piece = (uint32_t)coalescer->packet_count++;

	coalescer->pieces[piece] = (struct iovec){.iov_base = inner->data, .iov_len = inner->length};
	*entry = (struct entry){
		.head = *inner, .length = inner->length, .packets = 1, .first_piece = piece, .last_piece = piece};
	return entry;
}

HOT bool coalescer_add(struct coalescer *coalescer, const struct inner *inner)
{
	owner_check(&coalescer->owner, "coalescer");
	uint32_t payload = inner->length - inner->ip_length - inner->upper_length;
	struct entry *entry;
	struct flow flow;
	uint64_t hash;

	if (coalescer->packet_count == coalescer->capacity)
		return false;
	flow_read(&flow, inner);
	if (!inner->upper_length) {
		*fence_of(coalescer, &flow) = (uint32_t)coalescer->entry_count;
		coalescer->fenced = true;
		coalescer->last = NULL;
		start(coalescer, inner);
		return true;
	}

	bool verified = coalescer->offloads.checksum && inner_checksum_ok(inner);
	bool merge = verified && mergeable(coalescer, inner, payload);
	bool known = find(coalescer, &flow, &entry, &hash);
	if (merge && known && continues(entry, inner, payload)) {
		append(coalescer, entry, inner, payload);
	} else {
		/* A packet that cannot be merged gets an entry as well: as the flow's newest it closes the one before.
		 */
		coalescer->slots[hash & coalescer->slot_mask] = (uint32_t)coalescer->entry_count;
		entry = start(coalescer, inner);
		entry->flow = flow;
		entry->hash = hash;
		entry->verified = verified;
		entry->push = has_push(inner);
		entry->open = merge && !entry->push;
		entry->payload_size = payload;
		if (entry->open && inner->protocol == IPPROTO_TCP)
			entry->next_sequence = load_be32(inner->data + inner->ip_length + TCP_AT_SEQUENCE) + payload;
		entry->last_id = load_be16(inner->data + IPV4_AT_ID);
	}
	coalescer->last = entry;
	return true;
}

/* Rewrites the head's headers for the super-packet. The kernel completes the checksum or cuts it. */
static void finish_super(struct entry *entry)
{
	const struct inner *head = &entry->head;
	uint8_t *ip = head->data, *upper = ip + head->ip_length;
	uint32_t upper_length = entry->length - head->ip_length;
	uint16_t partial = checksum_fold(checksum_pseudo(head->version, ip, upper_length, head->protocol));
	bool tcp = head->protocol == IPPROTO_TCP;

	if (head->version == 4) {
		store_be16(ip + IPV4_AT_LENGTH, (uint16_t)entry->length);
		uint16_t checksum = checksum_ipv4_header(ip, head->ip_length);
		memcpy(ip + IPV4_AT_CHECKSUM, &checksum, sizeof checksum);
	} else {
		store_be16(ip + IPV6_AT_LENGTH, (uint16_t)upper_length);
	}
	if (!tcp)
		store_be16(upper + UDP_AT_LENGTH, (uint16_t)upper_length);
	else if (entry->push)
		upper[TCP_AT_FLAGS] |= TCP_PSH;

	entry->header = (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = !tcp		 ? VIRTIO_NET_HDR_GSO_UDP_L4
			    : head->version == 4 ? VIRTIO_NET_HDR_GSO_TCPV4
						 : VIRTIO_NET_HDR_GSO_TCPV6,
		.hdr_len = (uint16_t)(head->ip_length + head->upper_length),
		.gso_size = (uint16_t)entry->payload_size,
		.csum_start = head->ip_length,
		.csum_offset = tcp ? TCP_AT_CHECKSUM : UDP_AT_CHECKSUM,
	};
	memcpy(upper + entry->header.csum_offset, &partial, sizeof partial);
}

HOT const struct tun_frame *coalescer_frames(struct coalescer *coalescer, size_t *count)
{
	owner_check(&coalescer->owner, "coalescer");
	struct iovec *iov = coalescer->iov;

	for (size_t i = 0; i < coalescer->entry_count; i++) {
		struct entry *entry = &coalescer->entries[i];
		coalescer->frames[i] = (struct tun_frame){
			.iov = iov, .iov_count = (int)entry->packets + 1, .packets = entry->packets};
		*iov++ = (struct iovec){.iov_base = &entry->header, .iov_len = VNET_HEADER_SIZE};
		for (uint32_t n = 0, piece = entry->first_piece; n < entry->packets; n++) {
			*iov++ = coalescer->pieces[piece];
			piece = coalescer->next_piece[piece];
		}
		if (entry->packets > 1)
			finish_super(entry);
		else if (entry->verified)
			entry->header.flags = VIRTIO_NET_HDR_F_DATA_VALID;
	}
	*count = coalescer->entry_count;
	return coalescer->frames;
}

HOT void coalescer_reset(struct coalescer *coalescer)
{
	owner_check(&coalescer->owner, "coalescer");
	if (coalescer->fenced)
		memset(coalescer->fences, 0, sizeof coalescer->fences);
	coalescer->fenced = false;
	coalescer->packet_count = coalescer->entry_count = 0;
	coalescer->last = NULL;
}
