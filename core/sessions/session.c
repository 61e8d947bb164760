// SPDX-License-Identifier: Apache-2.0
#include "core/sessions/session.h"

#include <stdlib.h>

#include "core/base/hot.h"

struct session *session_new(uint32_t id, uint64_t now)
{
	struct session *session = calloc(1, sizeof *session);
	if (session == NULL)
		return NULL;
	session->id = id;
	atomic_init(&session->view.state, SESSION_PENDING);
	session->born = now;
	session->mtu = WIRE_MTU_MIN;
	session->look_after = SESSION_HIBERNATE_NS;
	CDS_INIT_LIST_HEAD(&session->node);
	return session;
}

void session_free(struct session *session)
{
	if (session == NULL)
		return;
	transport_key_free(session->current);
	transport_key_free(session->previous);
	transport_key_free(session->next);
	free(session->limits);
	free(session);
}

void session_set_active(struct session *session)
{
	owner_check(&session->owner, "session");
	atomic_store_explicit(&session->view.state, SESSION_ACTIVE, memory_order_release);
}

void session_show_endpoint(struct session *session)
{
	owner_check(&session->owner, "session");
	uint64_t words[2];
	memcpy(words, &session->endpoint.remote.sin6_addr, sizeof words);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		atomic_store_explicit(&session->view.remote[i], words[i], memory_order_relaxed);
	atomic_store_explicit(&session->view.remote[2], session->endpoint.remote.sin6_port, memory_order_relaxed);
}

void session_show_keys(struct session *session)
{
	const struct transport_key *key = session->current;
	atomic_store_explicit(&session->view.suite, key != NULL ? (uint8_t)key->aead->suite : 0, memory_order_relaxed);
	atomic_store_explicit(&session->view.epoch, key != NULL ? key->epoch : 0, memory_order_relaxed);
	if (key != NULL)
		atomic_store_explicit(&session->view.keyed, key->born, memory_order_relaxed);
}

void session_set_next(struct session *session, struct transport_key *key, uint64_t now)
{
	owner_check(&session->owner, "session");
	transport_key_free(session->next);
	session->next = key;
	if (key != NULL)
		owner_follow(&key->owner, &session->owner);
	session->next_born = now;
}

bool session_promote(struct session *session)
{
	owner_check(&session->owner, "session");
	bool rekey = session->current != NULL;
	/* A key under which no packet was opened is not confirmed: the other side may still use the one before it. */
	if (rekey && session->current->first_opened != 0) {
		transport_key_free(session->previous);
		session->previous = session->current;
	} else {
		transport_key_free(session->current);
	}
	session->current = session->next;
	session->next = NULL;
	session_show_keys(session);
	return rekey;
}

void session_install_initiated(struct session *session, struct transport_key *key)
{
	owner_check(&session->owner, "session");
	owner_follow(&key->owner, &session->owner);
	struct transport_key *older = session->next != NULL ? session->next : session->current;
	if (older != NULL) {
		if (older == session->next)
			transport_key_free(session->current);
		transport_key_free(session->previous);
		session->previous = older;
	}
	session->current = key;
	session->next = NULL;
	session_show_keys(session);
}

/* When the previous key has to go since the current one is in use, monotonic ns; UINT64_MAX: not for that. */
static uint64_t previous_due(const struct session *session)
{
	const struct transport_key *current = session->current;
	bool used = current != NULL && current->first_opened != 0 && !current->initiated;
	return used ? current->first_opened + SESSION_PREVIOUS_KEY_NS : UINT64_MAX;
}

static void drop(struct transport_key **key)
{
	transport_key_free(*key);
	*key = NULL;
}

static uint64_t end_of(const struct transport_key *key)
{
	return key->born + key->dialect->key_max_age;
}

/* There is a next key. */
static uint64_t confirmed_by(const struct session *session)
{
	return session->next_born + session->next->dialect->confirm_within;
}

void session_expire_keys(struct session *session, uint64_t now)
{
	owner_check(&session->owner, "session");
	struct transport_key *current = session->current;
	if (session->previous != NULL && now >= previous_due(session))
		drop(&session->previous);
	if (session->next != NULL && now >= confirmed_by(session))
		drop(&session->next);
	if (session->previous != NULL && now >= end_of(session->previous))
		drop(&session->previous);
	if (current != NULL && now >= end_of(current))
		drop(&session->current);
	session_show_keys(session);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t session_keys_due(const struct session *session)
{
	const struct transport_key *current = session->current, *previous = session->previous;
	uint64_t due = UINT64_MAX;
	if (current != NULL)
		due = end_of(current);
	if (session->next != NULL)
		due = earlier(due, confirmed_by(session));
	if (previous != NULL)
		due = earlier(due, earlier(end_of(previous), previous_due(session)));
	return due;
}

static bool awake(const struct transport_key *key)
{
	return key != NULL && transport_key_is_live(key);
}

void session_hibernate(struct session *session)
{
	owner_check(&session->owner, "session");
	struct transport_key *keys[] = {session->current, session->previous, session->next};
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (awake(keys[i]))
			transport_key_hibernate(keys[i]);
	}
}

uint64_t session_hibernation_due(const struct session *session)
{
	bool any = awake(session->current) || awake(session->previous) || awake(session->next);
	return any ? session->data_moved + SESSION_HIBERNATE_NS : UINT64_MAX;
}

HOT bool session_wants_rekey(const struct session *session, uint64_t interval, uint64_t now)
{
	const struct transport_key *key = session->current;
	if (key == NULL)
		return false;
	uint64_t limit = session->mtu > TRANSPORT_JUMBO_MTU ? TRANSPORT_REKEY_PACKETS_JUMBO : TRANSPORT_REKEY_PACKETS;
	if (key->send_counter >= limit || key->opened >= limit)
		return true;
	return now - key->born >= interval && session->data_moved > key->born;
}
