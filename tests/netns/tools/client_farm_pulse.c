// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "core/base/clock.h"
#include "tests/netns/tools/client_farm.h"

#define SETTLE_NS NS_PER_S /* an answer that comes so late counts as lost */

static uint64_t phase_began, told_at; /* told_at: when the phase before is printed; 0: it was */
static unsigned phase;
static uint64_t before_ms;

/* A client's pings are spread over the interval, so that not all come at once. */
void pulse_begin(void)
{
	uint64_t now = clock_monotonic(&clock_system);
	phase_began = now;
	for (size_t i = 0; i < farm.count; i++)
		farm.clients[i].pulse = (struct pulse){.due = now + farm.interval * i / farm.count,
						       .last = now,
						       .first = farm.clients[i].sequence,
						       .up = true};
}

static void note_pause(struct pulse *pulse, uint64_t now)
{
	if (now - pulse->last > pulse->pause)
		pulse->pause = now - pulse->last;
}

void pulse_answered(struct client *client, uint64_t now)
{
	note_pause(&client->pulse, now);
	client->pulse.last = now;
}

void pulse_follow(struct client *client, bool up)
{
	if (up)
		farm_note_lease(client);
	client->pulse.handshakes += (unsigned)(client->pulse.up && !up);
	client->pulse.up = up;
}

/* A pause goes on in the next phase, where it counts as a whole. */
bool pulse_end_phase(void)
{
	if (told_at != 0)
		return false;
	uint64_t now = clock_monotonic(&clock_system);
	for (size_t i = 0; i < farm.count; i++) {
		struct client *client = &farm.clients[i];
		struct pulse *pulse = &client->pulse;
		note_pause(pulse, now);
		pulse->before.pause = pulse->pause;
		pulse->before.first = pulse->first;
		pulse->before.end = pulse->first = client->sequence;
		pulse->before.handshakes = pulse->handshakes;
		pulse->pause = 0;
		pulse->handshakes = 0;
	}
	before_ms = (now - phase_began) / NS_PER_MS;
	phase_began = now;
	told_at = now + SETTLE_NS;
	return true;
}

static unsigned count_lost(const struct client *client)
{
	unsigned lost = 0;
	for (uint16_t i = client->pulse.before.first; i != client->pulse.before.end; i++)
		lost += client->waiting[i / 8] >> i % 8 & 1;
	return lost;
}

static void tell_phase(uint64_t now)
{
	const struct result *r = &farm.result;
	uint64_t sent = 0, lost = 0, handshakes = 0, silent = 0;
	printf("{\"phase\": %u, \"ms\": %lu, \"pauses_ms\": [", ++phase, before_ms);
	for (size_t i = 0; i < farm.count; i++) {
		const struct pulse *pulse = &farm.clients[i].pulse;
		sent += (uint16_t)(pulse->before.end - pulse->before.first);
		lost += count_lost(&farm.clients[i]);
		handshakes += pulse->before.handshakes;
		silent += now - pulse->last > SETTLE_NS;
		printf("%s%llu", i == 0 ? "" : ", ", pulse->before.pause / NS_PER_MS);
	}
	printf("], \"sent\": %lu, \"lost\": %lu, \"handshakes\": %lu, \"silent\": %lu, \"foreign\": %lu, "
	       "\"unasked\": %lu, \"malformed\": %lu, \"held_twice\": %lu, \"moved\": %lu}\n",
	       sent, lost, handshakes, silent, r->foreign, r->unasked, r->malformed, r->held_twice, r->moved);
	fflush(stdout);
	told_at = 0;
}

void pulse_turn(void)
{
	uint64_t now = clock_monotonic(&clock_system);
	for (size_t i = 0; i < farm.count; i++) {
		struct client *client = &farm.clients[i];
		if (client->worker == NULL || now < client->pulse.due)
			continue;
		client->pulse.due += farm.interval;
		if (client->pulse.due < now)
			client->pulse.due = now;
		farm_ping(client, client->sequence % 2 != 0 ? 6 : 4);
		farm_turn(client);
	}
	now = clock_monotonic(&clock_system); /* answers came meanwhile */
	if (told_at != 0 && now >= told_at)
		tell_phase(now);
}
