// SPDX-License-Identifier: Apache-2.0
#include "perf/stgun/mix.h"

#include <stdlib.h>
#include <string.h>

#include "perf/stgun/packet.h"

/* The classic one ("simple IMIX"), with its largest as long as fits every tunnel. */
#define IMIX "64:7,576:4,1400:1"

struct share {
	uint16_t size;
	long weight, credit;
};

static int parse_shares(const char *text, struct share *shares, struct error *error)
{
	int count = 0;
	for (const char *at = text;; at++) {
		char *end;
		long size = strtol(at, &end, 10), weight = 1;
		if (end == at || size < (long)stgun_packet_size_least(4) || size > PACKET_SIZE_MAX)
			return error_set(error, -EINVAL, "\"%s\": sizes are %zu to %d", text,
					 stgun_packet_size_least(4), PACKET_SIZE_MAX);
		if (*end == ':') {
			at = end + 1;
			weight = strtol(at, &end, 10);
			if (end == at || weight < 1 || weight > MIX_WEIGHTS)
				return error_set(error, -EINVAL, "\"%s\": shares are 1 to %d", text, MIX_WEIGHTS);
		}
		if (count == MIX_SIZES)
			return error_set(error, -EINVAL, "\"%s\": at most %d sizes", text, MIX_SIZES);
		shares[count++] = (struct share){.size = (uint16_t)size, .weight = weight};
		at = end;
		if (*at == '\0')
			return count;
		if (*at != ',')
			return error_set(error, -EINVAL, "\"%s\": SIZE, imix, or SIZE:SHARE,...", text);
	}
}

/* Spreads each size evenly: the size that is furthest behind is next (smooth weighted round robin, as in nginx). */
static void spread(struct share *shares, int count, struct mix *mix)
{
	for (size_t i = 0; i < mix->count; i++) {
		struct share *next = shares;
		for (int s = 0; s < count; s++) {
			shares[s].credit += shares[s].weight;
			if (shares[s].credit > next->credit)
				next = &shares[s];
		}
		next->credit -= (long)mix->count;
		mix->order[i] = next->size;
	}
}

int mix_parse(const char *text, struct mix *mix, struct error *error)
{
	struct share shares[MIX_SIZES] = {{0}};
	int count = parse_shares(strcmp(text, "imix") == 0 ? IMIX : text, shares, error);
	if (count < 0)
		return count;
	long weights = 0, bytes = 0;
	*mix = (struct mix){.least = UINT16_MAX};
	for (int i = 0; i < count; i++) {
		weights += shares[i].weight;
		bytes += shares[i].weight * shares[i].size;
		mix->least = shares[i].size < mix->least ? shares[i].size : mix->least;
		mix->most = shares[i].size > mix->most ? shares[i].size : mix->most;
	}
	if (weights > MIX_WEIGHTS)
		return error_set(error, -EINVAL, "\"%s\": all shares together are at most %d", text, MIX_WEIGHTS);
	mix->count = (size_t)weights;
	mix->mean = (double)bytes / (double)weights;
	spread(shares, count, mix);
	return 0;
}
