// SPDX-License-Identifier: Apache-2.0
#include "tun/ecn.h"

#include "core/base/bytes.h"
#include "core/base/hot.h"

HOT uint8_t ecn_get(const struct inner *inner)
{
	return inner->version == 4 ? inner->data[IPV4_AT_TOS] & 3 : (inner->data[1] >> 4) & 3;
}

static void ecn_set(const struct inner *inner, uint8_t ecn)
{
	uint8_t *ip = inner->data;
	if (inner->version == 6) {
		ip[1] = (uint8_t)((ip[1] & ~0x30) | ecn << 4);
		return;
	}
	/* RFC 1624: HC' = ~(~HC + ~m + m') */
	uint16_t old = load_be16(ip);
	ip[IPV4_AT_TOS] = (uint8_t)((ip[IPV4_AT_TOS] & ~3) | ecn);
	uint32_t sum = (uint16_t)~load_be16(ip + IPV4_AT_CHECKSUM) + (uint32_t)(uint16_t)~old + load_be16(ip);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	store_be16(ip + IPV4_AT_CHECKSUM, (uint16_t)~sum);
}

HOT bool ecn_decapsulate(const struct inner *inner, uint8_t outer)
{
	uint8_t own = ecn_get(inner);
	if (own == ECN_NOT_ECT)
		return outer != ECN_CE;
	if (own != ECN_CE && outer == ECN_CE)
		ecn_set(inner, ECN_CE);
	else if (own == ECN_ECT0 && outer == ECN_ECT1)
		ecn_set(inner, ECN_ECT1);
	return true;
}
