// SPDX-License-Identifier: Apache-2.0
#include "workers/client_hello.h"

#include <sodium.h>

#define ROUND_FIRST_NS NS_PER_S
#define ROUND_MOST_NS  (16 * NS_PER_S)
#define STAGGER_NS     WORKER_TICK_NS /* Connection Attempt Delay of RFC 8305, 5: 250 ms; timers are no finer */

uint64_t client_jitter(uint64_t interval, unsigned percent)
{
	uint64_t span = interval * percent / 100;
	uint64_t random;
	randombytes_buf(&random, sizeof random);
	return interval - span + random % (2 * span + 1);
}

/* --- addresses ---------------------------------------------------------------------------------------------------- */

static const struct client_address *find(const struct client_hellos *hellos, const struct endpoint *gateway)
{
	for (size_t i = 0; i < hellos->count; i++) {
		if (endpoint_equal(&hellos->addresses[i].gateway, gateway))
			return &hellos->addresses[i];
	}
	return NULL;
}

bool client_hellos_aim(struct client_hellos *hellos, const struct client_candidate *candidates, size_t count)
{
	struct client_hellos before = *hellos;
	sodium_memzero(hellos->addresses, sizeof hellos->addresses);
	hellos->count = count < CLIENT_ADDRESSES_MAX ? count : CLIENT_ADDRESSES_MAX;
	hellos->current = 0;
	bool changed = true;
	for (size_t i = 0; i < hellos->count; i++) {
		struct client_address *address = &hellos->addresses[i];
		const struct endpoint gateway = {.remote = candidates[i].remote};
		const struct client_address *known = find(&before, &gateway);
		if (known != NULL)
			*address = *known;
		else
			hellos->step = 0, hellos->due = 0; /* a new address is tried soon */
		address->gateway = gateway;
		address->mtu = candidates[i].mtu;
		if (known != NULL && known == &before.addresses[before.current]) {
			hellos->current = i;
			changed = known->mtu != address->mtu;
		}
	}
	sodium_memzero(before.addresses, sizeof before.addresses);
	return changed;
}

/* --- when --------------------------------------------------------------------------------------------------------- */

void client_hellos_forget(struct client_hellos *hellos)
{
	for (size_t i = 0; i < hellos->count; i++) {
		hellos->addresses[i].order = 0;
		hellos->addresses[i].repeat = false;
		sodium_memzero(&hellos->addresses[i].initiator, sizeof hellos->addresses[i].initiator);
	}
}

void client_hellos_forget_cookies(struct client_hellos *hellos)
{
	for (size_t i = 0; i < hellos->count; i++) {
		hellos->addresses[i].proof = (struct client_cookie){0};
		hellos->addresses[i].challenge = (struct client_cookie){0};
	}
}

void client_hellos_expedite(struct client_hellos *hellos, uint64_t now)
{
	hellos->wait = ROUND_FIRST_NS;
	hellos->step = 0;
	hellos->due = now;
}

void client_hellos_start(struct client_hellos *hellos, uint64_t due)
{
	client_hellos_forget(hellos);
	client_hellos_expedite(hellos, due);
	hellos->handshaking = true;
	hellos->rounds = 0;
}

/* --- HELLO -------------------------------------------------------------------------------------------------------- */

static void send_hello(struct worker *worker, struct client_hellos *hellos, const struct client_hello_wish *wish,
		       struct client_address *address)
{
	uint64_t wall = clock_wall(worker->clock);
	if (wall <= hellos->last_timestamp)
		wall = hellos->last_timestamp + 1; /* the clock stood or went back */
	hellos->last_timestamp = wall;
	address->repeat = false;

	struct wire_hello hello = {
		.capabilities = wire_capabilities(worker->sparse != NULL, worker->tun->sparse != NULL),
		.mtu = address->mtu,
		.wish4 = wish->lease->address4.address,
		.wish6 = wish->lease->address6.address};
	wire_timestamp(hello.timestamp, wall);
	memcpy(hello.suites, wish->suites, sizeof hello.suites);
	bool challenged = worker->now < address->challenge.end;
	if (challenged)
		memcpy(hello.challenge, address->challenge.bytes, sizeof hello.challenge);
	address->proof_sent = worker->now < address->proof.end;
	address->same_sent = address->proof_sent && challenged &&
			     memcmp(address->proof.bytes, address->challenge.bytes, COOKIE_SIZE) == 0;

	uint8_t random[HANDSHAKE_HELLO_RANDOM], message[WIRE_HELLO_SIZE];
	randombytes_buf(random, sizeof random);
	if (handshake_write_hello(&address->initiator, wish->identity, wish->remote, wish->session_id, &hello, random,
				  message)) {
		if (address->proof_sent)
			handshake_add_mac2(address->proof.bytes, message);
		(void)worker_send_plain(worker, &address->gateway, message, sizeof message);
		address->order = ++hellos->order;
	}
	sodium_memzero(random, sizeof random);
}

static void send_repeats(struct worker *worker, struct client_hellos *hellos, const struct client_hello_wish *wish)
{
	for (size_t i = 0; i < hellos->count; i++) {
		if (hellos->addresses[i].repeat)
			send_hello(worker, hellos, wish, &hellos->addresses[i]);
	}
}

bool client_hellos_tick(struct worker *worker, struct client_hellos *hellos, const struct client_hello_wish *wish)
{
	if (!hellos->handshaking)
		return false;
	send_repeats(worker, hellos, wish);
	if (worker->now < hellos->due)
		return false;
	size_t asked = wish->all ? hellos->count : 1;
	bool begins = hellos->step == 0;
	if (begins) {
		hellos->rounds++;
		hellos->next = worker->now + client_jitter(hellos->wait, 25);
		hellos->wait = hellos->wait * 2 < ROUND_MOST_NS ? hellos->wait * 2 : ROUND_MOST_NS;
	}
	struct client_address *address = &hellos->addresses[(hellos->current + hellos->step) % hellos->count];
	address->repeats = 0;
	send_hello(worker, hellos, wish, address);
	uint64_t staggered = worker->now + STAGGER_NS;
	hellos->due = staggered;
	if (++hellos->step >= asked) {
		hellos->step = 0;
		hellos->due = hellos->next > staggered ? hellos->next : staggered;
	}
	return begins;
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

struct client_address *client_hellos_answered(struct client_hellos *hellos, const uint8_t *message)
{
	for (size_t i = 0; i < hellos->count; i++) {
		struct client_address *address = &hellos->addresses[i];
		if (address->order != 0 && address->initiator.magic == wire_magic(message))
			return address;
	}
	return NULL;
}

/* A COOKIE: the gateway demands a proof of our source address, because it is under load or cannot trust the timestamp
 * of our HELLO. It checks mac2 under load only by cookies that it gives before it reads a HELLO, and the one for a
 * HELLO that it read is another. So one for a HELLO that had both of one cookie is about the challenge; if that was
 * wrong, because the proof was too old, the next one is for both. */
static void take_cookie(struct client_address *address, const struct client_cookie *cookie)
{
	if (!address->same_sent)
		address->proof = *cookie;
	address->challenge = *cookie;
}

enum drop_reason client_hellos_cookie(struct worker *worker, struct client_hellos *hellos,
				      const struct handshake_remote *remote, const struct datagram *datagram)
{
	struct client_address *address = client_hellos_answered(hellos, datagram->data);
	if (address == NULL || !hellos->handshaking)
		return DROP_UNEXPECTED;
	struct client_cookie cookie = {.end = worker->now + COOKIE_KEEP_NS};
	if (!handshake_read_cookie(&address->initiator, remote, datagram->data, datagram->length, cookie.bytes))
		return DROP_HANDSHAKE_FORGED;
	take_cookie(address, &cookie);
	if (!address->proof_sent) {
		hellos->current = (size_t)(address - hellos->addresses);
		client_hellos_expedite(hellos, worker->now);
	} else if (address->repeats < CLIENT_REPEATS) {
		/* Few, and no interval begins anew: so forged COOKIEs cannot make the client send without end. */
		address->repeats++;
		address->repeat = true;
	} else {
		return DROP_NONE;
	}
	worker->next_tick = worker->now;
	return DROP_NONE;
}

void client_hellos_accept(struct client_hellos *hellos, struct client_address *address)
{
	hellos->current = (size_t)(address - hellos->addresses);
	hellos->handshaking = false;
	hellos->rounds = 0;
	uint32_t accepted = address->order;
	for (size_t i = 0; i < hellos->count; i++) {
		struct client_address *other = &hellos->addresses[i];
		/* What came before cannot be the gateway's newest; of equal ones, this one is spent. */
		if (other->order <= accepted) {
			other->order = 0;
			sodium_memzero(&other->initiator, sizeof other->initiator);
		}
	}
}

bool client_hellos_pending(const struct client_hellos *hellos)
{
	for (size_t i = 0; i < hellos->count; i++) {
		if (hellos->addresses[i].order != 0)
			return true;
	}
	return false;
}
