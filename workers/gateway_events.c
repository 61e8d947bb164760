// SPDX-License-Identifier: Apache-2.0
#include "workers/gateway_events.h"

#include "workers/gateway_role.h"

static struct event_source *events_of(struct worker *worker)
{
	struct gateway_role *role = worker->role_state;
	return &role->events;
}

void gateway_tell_connect(struct worker *worker, const struct session *session)
{
	struct event_source *events = events_of(worker);
	struct event *event = event_new_of(events, EVENT_CONNECT, session, worker->now);
	if (event == NULL)
		return;
	event->suite = atomic_load_explicit(&session->view.suite, memory_order_relaxed);
	struct peer_limits limits = peer_limits(session->peer);
	event->rate_up = limits.up;
	event->rate_down = limits.down;
	event->mtu = session->mtu;
	event_post(events, event);
}

void gateway_tell_disconnect(struct worker *worker, const struct session *session, const char *why)
{
	struct event_source *events = events_of(worker);
	const struct session_view *view = &session->view;
	struct event *event = event_new_of(events, EVENT_DISCONNECT, session, worker->now);
	if (event == NULL)
		return;
	event->reason = why;
	event->duration = worker->now - session_since(session);
	event->rx_packets = atomic_load_explicit(&view->rx_packets, memory_order_relaxed);
	event->rx_bytes = atomic_load_explicit(&view->rx_bytes, memory_order_relaxed);
	event->tx_packets = atomic_load_explicit(&view->tx_packets, memory_order_relaxed);
	event->tx_bytes = atomic_load_explicit(&view->tx_bytes, memory_order_relaxed);
	event_post(events, event);
}

void gateway_tell_roam(struct worker *worker, const struct session *session, const struct endpoint *previous,
		       const char *why)
{
	struct event_source *events = events_of(worker);
	if (endpoint_equal(&session->endpoint, previous))
		return;
	struct event *event = event_new_of(events, EVENT_ROAM, session, worker->now);
	if (event == NULL)
		return;
	event->previous = previous->remote;
	event->reason = why;
	event_post(events, event);
}

void gateway_tell_unconfirmed(struct worker *worker, const struct session *session)
{
	struct event_source *events = events_of(worker);
	enum event_kind kind = session_is_active(session) ? EVENT_REKEY_FAILED : EVENT_REFUSED;
	struct event *event = event_new_of(events, kind, session, worker->now);
	if (event == NULL)
		return;
	event->endpoint = session->next_from.remote;
	event->reason = "not_confirmed";
	event_post(events, event);
}
