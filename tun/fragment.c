// SPDX-License-Identifier: Apache-2.0
#include "tun/fragment.h"

#include "core/base/bytes.h"
#include "tun/checksum.h"

enum {
	FRAGMENT_UNIT = 8,
	OPTION_END = 0,
	OPTION_NOTHING = 1,
	OPTION_COPIED = 0x80,
};

static uint32_t payload_size(uint32_t ip_length, uint32_t mtu)
{
	return (mtu - ip_length) / FRAGMENT_UNIT * FRAGMENT_UNIT;
}

uint32_t fragment_count(uint32_t length, uint32_t ip_length, uint32_t mtu)
{
	uint32_t size = payload_size(ip_length, mtu);
	return length <= mtu ? 1 : (length - ip_length + size - 1) / size;
}

void fragment_start(struct fragmenter *fragmenter, uint8_t *packet, uint32_t length, uint8_t ip_length, uint32_t mtu)
{
	*fragmenter = (struct fragmenter){.packet = packet,
					  .left = length - ip_length,
					  .size = payload_size(ip_length, mtu),
					  .field = load_be16(packet + IPV4_AT_FRAGMENT),
					  .ip_length = ip_length};
	memcpy(fragmenter->header, packet, ip_length);
}

/* Options without the copied flag stand in the first fragment only; the others have NOPs in their place. */
static void blank_options(uint8_t *header, uint32_t ip_length)
{
	for (uint32_t at = IPV4_HEADER_MIN; at < ip_length && header[at] != OPTION_END;) {
		uint32_t length = header[at] == OPTION_NOTHING ? 1 : at + 1 < ip_length ? header[at + 1] : 0;
		if (length == 0 || at + length > ip_length)
			return; /* no valid option */
		if ((header[at] & OPTION_COPIED) == 0)
			memset(header + at, OPTION_NOTHING, length);
		at += length;
	}
}

bool fragment_next(struct fragmenter *f, uint8_t **fragment, uint32_t *length)
{
	if (f->left == 0)
		return false;
	bool last = f->left <= f->size;
	uint32_t payload = last ? f->left : f->size;
	uint8_t *ip = f->packet + f->at;
	uint16_t field = (uint16_t)(f->field + f->at / FRAGMENT_UNIT);
	store_be16(f->header + IPV4_AT_LENGTH, (uint16_t)(f->ip_length + payload));
	store_be16(f->header + IPV4_AT_FRAGMENT, last ? field : field | IPV4_MORE_FRAGMENTS);
	memset(f->header + IPV4_AT_CHECKSUM, 0, 2);
	uint16_t checksum = checksum_ipv4_header(f->header, f->ip_length);
	memcpy(f->header + IPV4_AT_CHECKSUM, &checksum, sizeof checksum);
	memcpy(ip, f->header, f->ip_length);
	if (f->at == 0)
		blank_options(f->header, f->ip_length);
	f->at += payload;
	f->left -= payload;
	*fragment = ip;
	*length = f->ip_length + payload;
	return true;
}
