// SPDX-License-Identifier: Apache-2.0
/* Events: what the threads tell, how often, and how it is written. */
#include <poll.h>

#include "core/daemon/events.h"
#include "tests/harness/unit.h"

TestSuite(events, .timeout = 60);

static char line[EVENT_LINE_MAX];

/* The next event's line; "" when there is none. Its peer is cut out: keys are new each time. */
static const char *told(struct harness *h, bool hide)
{
	struct event *event = event_take(&h->gateway.events);
	if (event == NULL)
		return "";
	events_format(event, hide, line);
	free(event);
	char *peer = strstr(line, " peer=");
	if (peer != NULL) {
		char *end = peer + strlen(" peer=") + KEY_TEXT_SIZE - 1;
		memmove(peer, end, strlen(end) + 1);
	}
	return line;
}

static void expect(const char *text, const char *start, const char *part)
{
	cr_expect(strncmp(text, start, strlen(start)) == 0 && strstr(text, part) != NULL, "%s", text);
}

Test(events, a_client_comes_moves_and_goes)
{
	struct harness *h = START_UP(.listed = 1);
	expect(told(h, false),
	       "event=connect session=", " endpoint=198.51.100.1:40000 addresses=10.8.0.2,fd00:8::2 suite=");
	cr_expect_str_eq(told(h, false), "");
	cr_assert(harness_ping(h, 0, TO_GATEWAY));
	link_move(&h->clients[0].node.link, network_address("2001:db8::77", 99));
	cr_assert(harness_ping(h, 0, TO_GATEWAY));
	expect(told(h, false), "event=roam session=", " endpoint=[2001:db8::77]:99 previous=198.51.100.1:40000");
	harness_advance(h, 5 * NS_PER_S);
	cr_expect_str_eq(told(h, false), "", "nothing more after it answered");
	harness_stop_client(h, 0, true);
	harness_pump(h);
	expect(told(h, false),
	       "event=disconnect session=", " endpoint=[2001:db8::77]:99 reason=\"going away\" duration=5.");
	cr_expect(strstr(line, " rx_packets=2 rx_bytes=") != NULL && strstr(line, " tx_packets=0 tx_bytes=0") != NULL,
		  "%s", line);
	finish(h);
}

Test(events, addresses_can_be_hidden)
{
	struct harness *h = START_UP(.listed = 1);
	expect(told(h, true), "event=connect session=", " endpoint=hidden addresses=10.8.0.2,");
	link_move(&h->clients[0].node.link, network_address("2001:db8::77", 99));
	cr_assert(harness_ping(h, 0, TO_GATEWAY));
	expect(told(h, true), "event=roam session=", " endpoint=hidden previous=hidden");
	finish(h);
}

Test(events, who_is_not_known_is_refused)
{
	struct harness *h = START(.clients = 2, .listed = 1);
	harness_connect(h, 1);
	harness_pump(h);
	cr_expect_str_eq(told(h, false), "event=refused endpoint=198.51.100.2:40001 reason=unknown_peer");
	cr_expect_str_eq(told(h, false), "");
	finish(h);
}

Test(events, a_handshake_that_nobody_confirms_is_told)
{
	struct harness *h = START(.listed = 1);
	harness_change_preshared_key(h, 0);
	harness_connect(h, 0);
	harness_pump(h);
	harness_stop_client(h, 0, false);
	cr_expect_str_eq(told(h, false), "");
	harness_advance(h, SESSION_PENDING_NS + NS_PER_S);
	expect(told(h, false), "event=refused session=", " endpoint=198.51.100.1:40000 reason=not_confirmed");
	finish(h);
}

Test(events, new_keys_that_nobody_confirms_are_told)
{
	struct harness *h = START_UP(.listed = 1, .rekey_interval = 20);
	expect(told(h, false), "event=connect", "");
	harness_change_preshared_key(h, 0);
	for (unsigned i = 0; i < 30; i++) {
		(void)harness_ping(h, 0, TO_GATEWAY);
		harness_advance(h, NS_PER_S);
	}
	harness_stop_client(h, 0, false);
	harness_advance(h, SESSION_PENDING_NS + NS_PER_S);
	expect(told(h, false), "event=rekey_failed session=", " reason=not_confirmed");
	finish(h);
}

Test(events, what_speaks_wireguard_says_so)
{
	struct event event = {.kind = EVENT_QUOTA, .name = "phone", .period = "day", .protocol = "wireguard"};
	events_format(&event, false, line);
	cr_expect_not_null(strstr(line, " name=phone protocol=wireguard quota=0 "), "%s", line);
	struct peer_wireguard wireguard = {0};
	struct peer peer = {.wireguard = &wireguard}, own = {0};
	event_note_protocol(&event, &own);
	cr_expect_null(event.protocol, "what has always been there is as it was");
	event_note_protocol(&event, &peer);
	cr_expect_str_eq(event.protocol, "wireguard");
}

/* --- how often ---------------------------------------------------------------------------------------------------- */

static unsigned raise(struct event_source *source, enum event_kind kind, unsigned times, uint64_t now)
{
	unsigned posted = 0;
	for (unsigned i = 0; i < times; i++) {
		struct event *event = event_new(source, kind, now);
		if (event == NULL)
			continue;
		event_post(source, event);
		posted++;
	}
	return posted;
}

Test(events, each_kind_has_a_rate_and_what_is_above_is_counted)
{
	struct event_queue queue;
	struct event_source source;
	uint64_t now = NS_PER_S;
	cr_assert_eq(event_queue_init(&queue), 0);
	event_source_init(&source, &queue, 1);
	cr_expect_eq(raise(&source, EVENT_REFUSED, 1000, now), 100);
	cr_expect_eq(source.suppressed[EVENT_REFUSED], 900);
	cr_expect_eq(raise(&source, EVENT_REFUSED, 1000, now + 10 * NS_PER_S), 10);
	cr_expect_eq(raise(&source, EVENT_CONNECT, 20000, now), 10000, "others are not touched");
	cr_expect_eq(source.suppressed[EVENT_CONNECT], 10000);

	event_source_init(&source, &queue, 4);
	cr_expect_eq(raise(&source, EVENT_REFUSED, 1000, now), 25, "threads share the rate");
	cr_expect_eq(raise(&source, EVENT_REFUSED, 1000, now + 40 * NS_PER_S), 10);
	event_queue_deinit(&queue);
}

Test(events, nobody_listens)
{
	struct event_source source;
	event_source_init(&source, NULL, 1);
	cr_expect_null(event_new(&source, EVENT_CONNECT, 1));
	cr_expect_eq(source.suppressed[EVENT_CONNECT], 0);
}

static bool readable(const struct event_queue *queue)
{
	struct pollfd polled = {.fd = queue->waker.fd, .events = POLLIN};
	return poll(&polled, 1, 0) == 1;
}

Test(events, the_reader_is_woken_once_until_it_saw_the_end)
{
	struct event_queue queue;
	struct event_source source;
	cr_assert_eq(event_queue_init(&queue), 0);
	event_source_init(&source, &queue, 1);
	cr_expect_not(readable(&queue));
	for (unsigned round = 0; round < 3; round++) {
		cr_assert_eq(raise(&source, EVENT_ROAM, 3, 1), 3);
		cr_expect(readable(&queue));
		for (unsigned i = 0; i < 3; i++) {
			struct event *event = event_take(&queue);
			cr_assert_not_null(event);
			free(event);
		}
		cr_expect_null(event_take(&queue));
		cr_expect_not(readable(&queue));
	}
	event_queue_deinit(&queue);
}

Test(events, what_is_put_back_is_told)
{
	struct reconcile_news news = {.kind = RECONCILE_route,
				      .restored = 2,
				      .in_force = true,
				      .times = 1,
				      .first = "route 10.77.0.0/24",
				      .why = ""};
	cr_expect_str_eq(events_format_kept(&news, line),
			 "event=restored what=route count=2 first=\"route 10.77.0.0/24\"");
	news = (struct reconcile_news){.kind = RECONCILE_nftables,
				       .times = 7,
				       .next_try = 3 * NS_PER_S + 1,
				       .first = "table \"x\"",
				       .why = ""};
	cr_expect_str_eq(events_format_kept(&news, line),
			 "event=not_in_force what=nftables first=\"table 'x'\" retry=4");
	news.why = "gone";
	news.next_try = 0;
	cr_expect_str_eq(events_format_kept(&news, line),
			 "event=not_in_force what=nftables first=\"table 'x'\" reason=gone");
	news = (struct reconcile_news){.kind = RECONCILE_dns, .in_force = true, .first = "", .why = ""};
	cr_expect_str_eq(events_format_kept(&news, line), "event=in_force what=dns");
}
