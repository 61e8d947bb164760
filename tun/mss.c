// SPDX-License-Identifier: Apache-2.0
#include "tun/mss.h"

#include <netinet/tcp.h>

#include "core/base/bytes.h"
#include "core/base/hot.h"
#include "tun/checksum.h"

/* Options are not aligned. A value at an odd offset straddles two words of the sum, which adds its bytes swapped. */
static uint16_t as_summed(uint16_t value, size_t offset)
{
	return offset & 1 ? __builtin_bswap16(value) : value;
}

/* RFC 1624, equation 3: HC' = ~(~HC + ~m + m') */
static void mend_checksum(uint8_t *tcp, size_t offset, uint16_t old, uint16_t new)
{
	uint16_t checksum = load_be16(tcp + TCP_AT_CHECKSUM);
	uint64_t sum = (uint64_t)(uint16_t)~checksum + (uint16_t)~as_summed(old, offset) + as_summed(new, offset);

	store_be16(tcp + TCP_AT_CHECKSUM, (uint16_t)~checksum_fold(sum));
}

HOT bool mss_clamp(const struct inner *inner, uint16_t mtu, bool partial_checksum)
{
	uint8_t *tcp = inner->data + inner->ip_length;
	uint32_t headers = (inner->version == 4 ? IPV4_HEADER_MIN : IPV6_HEADER_LENGTH) + TCP_HEADER_MIN;
	bool changed = false;

	/* Without an upper header it is a fragment. */
	if (inner->protocol != IPPROTO_TCP || !inner->upper_length || !(tcp[TCP_AT_FLAGS] & TCP_SYN) || mtu <= headers)
		return false;

	uint16_t limit = (uint16_t)(mtu - headers);
	for (size_t at = TCP_HEADER_MIN, size; at < inner->upper_length && tcp[at] != TCPOPT_EOL; at += size) {
		size = 1;
		if (tcp[at] == TCPOPT_NOP)
			continue;
		size_t left = inner->upper_length - at;
		if (left < 2 || tcp[at + 1] < 2 || tcp[at + 1] > left)
			break;
		size = tcp[at + 1];
		if (tcp[at] != TCPOPT_MAXSEG || size != TCPOLEN_MAXSEG)
			continue;
		uint16_t mss = load_be16(tcp + at + 2);
		if (mss <= limit)
			continue;
		store_be16(tcp + at + 2, limit);
		if (!partial_checksum)
			mend_checksum(tcp, at + 2, mss, limit);
		changed = true;
	}
	return changed;
}
