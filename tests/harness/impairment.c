// SPDX-License-Identifier: Apache-2.0
#include "tests/harness/impairment.h"

#include <stdlib.h>

static void keep(struct kept *kept, struct weather *weather, struct link *from, const struct udp_message *message)
{
	const struct endpoint *way = &message->endpoint;
	*kept = (struct kept){.from = from, .to = network_find(weather->network, &way->remote), .message = *message};
	kept->message.endpoint = (struct endpoint){.remote = from->address, .local = way->remote.sin6_addr};
	if (!IN6_IS_ADDR_UNSPECIFIED(&way->local))
		kept->message.endpoint.remote.sin6_addr = way->local;
	if (kept->message.segment_size >= message->length)
		kept->message.segment_size = 0;
	kept->message.data = malloc(message->length);
	if (kept->message.data == NULL)
		abort();
	memcpy(kept->message.data, message->data, message->length);
}

static unsigned carry(void *context, struct link *from, struct udp_message *message)
{
	struct weather *weather = context;
	if ((weather->types & 1u << wire_type(message->data)) == 0 || (weather->from != NULL && weather->from != from))
		return 1;
	weather->seen++;
	if (weather->keep && weather->kept_count < WEATHER_KEPT)
		keep(&weather->kept[weather->kept_count++], weather, from, message);
	if (weather->spare > 0) {
		weather->spare--;
		return 1;
	}
	if (random_chance(&weather->random, weather->lose))
		return 0;
	if (random_chance(&weather->random, weather->delay) && weather->delayed_count < WEATHER_KEPT) {
		keep(&weather->delayed[weather->delayed_count++], weather, from, message);
		return 0;
	}
	return random_chance(&weather->random, weather->repeat) ? 2 : 1;
}

struct weather *weather_new(struct harness *harness, uint64_t seed)
{
	struct weather *weather = calloc(1, sizeof *weather);
	if (weather == NULL)
		abort();
	weather->network = &harness->network;
	weather->random.state = seed;
	harness->network.hooks.carry = carry;
	harness->network.hooks.context = weather;
	return weather;
}

void weather_free(struct weather *weather)
{
	weather->network->hooks = (struct link_hooks){0};
	for (size_t i = 0; i < weather->kept_count; i++)
		free(weather->kept[i].message.data);
	for (size_t i = 0; i < weather->delayed_count; i++)
		free(weather->delayed[i].message.data);
	free(weather);
}

static void arrive(const struct kept *kept)
{
	if (kept->to != NULL && !link_inject(kept->to, &kept->message))
		abort();
}

void weather_release(struct weather *weather)
{
	while (weather->delayed_count > 0) {
		struct kept *kept = &weather->delayed[--weather->delayed_count];
		arrive(kept);
		free(kept->message.data);
	}
}

void weather_replay(struct weather *weather, size_t index)
{
	if (index >= weather->kept_count)
		abort();
	arrive(&weather->kept[index]);
}

void weather_forge(struct node *to, const struct node *as, const uint8_t *bytes, uint32_t length)
{
	uint8_t *copy = malloc(length + 1);
	if (copy == NULL)
		abort();
	memcpy(copy, bytes, length);
	struct udp_message message = {.data = copy, .length = length};
	message.endpoint = (struct endpoint){.remote = as->link.address, .local = to->link.address.sin6_addr};
	if (!link_inject(&to->link, &message))
		abort();
	free(copy);
}
