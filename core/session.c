// SPDX-License-Identifier: Apache-2.0
#include "core/session.h"

#include <stdlib.h>

struct session *session_new(uint32_t id, uint64_t now)
{
	struct session *session = calloc(1, sizeof *session);
	if (session == NULL)
		return NULL;
	session->id = id;
	session->state = SESSION_PENDING;
	session->born = now;
	session->mtu = WIRE_MTU_MIN;
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
	free(session);
}

void session_set_next(struct session *session, struct transport_key *key, uint64_t now)
{
	transport_key_free(session->next);
	session->next = key;
	session->next_born = now;
}

bool session_promote(struct session *session)
{
	bool rekey = session->current != NULL;
	/* A key under which nothing ever came was never confirmed: the other side may still use the one before it. */
	if (rekey && session->current->first_opened != 0) {
		transport_key_free(session->previous);
		session->previous = session->current;
	} else {
		transport_key_free(session->current);
	}
	session->current = session->next;
	session->next = NULL;
	return rekey;
}

static void drop(struct transport_key **key)
{
	transport_key_free(*key);
	*key = NULL;
}

void session_expire_keys(struct session *session, uint64_t now)
{
	struct transport_key *current = session->current;
	if (session->previous != NULL && current != NULL && current->first_opened != 0 &&
	    now - current->first_opened >= SESSION_PREVIOUS_KEY_NS)
		drop(&session->previous);
	if (session->next != NULL && now - session->next_born >= SESSION_PENDING_NS)
		drop(&session->next);
	if (session->previous != NULL && now - session->previous->born >= SESSION_KEY_MAX_AGE_NS)
		drop(&session->previous);
	if (current != NULL && now - current->born >= SESSION_KEY_MAX_AGE_NS)
		drop(&session->current);
}

bool session_wants_rekey(const struct session *session, uint64_t interval, uint64_t now)
{
	const struct transport_key *key = session->current;
	if (key == NULL)
		return false;
	uint64_t limit = session->mtu > TRANSPORT_JUMBO_MTU ? TRANSPORT_REKEY_PACKETS_JUMBO : TRANSPORT_REKEY_PACKETS;
	if (key->send_counter >= limit || key->opened >= limit)
		return true;
	return now - key->born >= interval && session->data_moved > key->born;
}
