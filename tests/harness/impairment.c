// SPDX-License-Identifier: Apache-2.0
#include "tests/harness/impairment.h"

#include <stdlib.h>

static void keep(struct kept *kept, struct impairment *impairment, struct link *from, const struct udp_message *message)
{
	const struct endpoint *way = &message->endpoint;
	*kept = (struct kept){.from = from, .to = network_find(impairment->network, &way->remote), .message = *message};
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
	struct impairment *impairment = context;
	if ((impairment->types & 1u << wire_type(message->data)) == 0 ||
	    (impairment->from != NULL && impairment->from != from))
		return 1;
	impairment->seen++;
	if (impairment->keep && impairment->kept_count < IMPAIRMENT_KEPT)
		keep(&impairment->kept[impairment->kept_count++], impairment, from, message);
	if (impairment->spare > 0) {
		impairment->spare--;
		return 1;
	}
	if (random_chance(&impairment->random, impairment->lose))
		return 0;
	if (random_chance(&impairment->random, impairment->delay) && impairment->delayed_count < IMPAIRMENT_KEPT) {
		keep(&impairment->delayed[impairment->delayed_count++], impairment, from, message);
		return 0;
	}
	return random_chance(&impairment->random, impairment->repeat) ? 2 : 1;
}

struct impairment *impairment_new(struct harness *harness, uint64_t seed)
{
	struct impairment *impairment = calloc(1, sizeof *impairment);
	if (impairment == NULL)
		abort();
	impairment->network = &harness->network;
	impairment->random.state = seed;
	harness->network.hooks.carry = carry;
	harness->network.hooks.context = impairment;
	return impairment;
}

void impairment_free(struct impairment *impairment)
{
	impairment->network->hooks = (struct link_hooks){0};
	for (size_t i = 0; i < impairment->kept_count; i++)
		free(impairment->kept[i].message.data);
	for (size_t i = 0; i < impairment->delayed_count; i++)
		free(impairment->delayed[i].message.data);
	free(impairment);
}

static void arrive(const struct kept *kept)
{
	if (kept->to != NULL && !link_inject(kept->to, &kept->message))
		abort();
}

void impairment_release(struct impairment *impairment)
{
	while (impairment->delayed_count > 0) {
		struct kept *kept = &impairment->delayed[--impairment->delayed_count];
		arrive(kept);
		free(kept->message.data);
	}
}

void impairment_replay(struct impairment *impairment, size_t index)
{
	if (index >= impairment->kept_count)
		abort();
	arrive(&impairment->kept[index]);
}

void impairment_forge(struct node *to, const struct node *as, const uint8_t *bytes, uint32_t length)
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
