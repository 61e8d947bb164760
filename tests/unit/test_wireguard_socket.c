// SPDX-License-Identifier: Apache-2.0
/* WireGuard's control socket: what "get" shows, and what "set" changes, or not at all. */
#include "core/gateway/wireguard_socket.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <sys/socket.h>

#include "core/gateway/peers.h"
#include "core/gateway/wireguard_get.h"
#include "tests/unit/wireguard_gateway.h"

#define KEY_C "CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCA="
#define KEY_D "DDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDA="
#define HEX_C "0820820820820820820820820820820820820820820820820820820820820820"
#define HEX_D "0c30c30c30c30c30c30c30c30c30c30c30c30c30c30c30c30c30c30c30c30c30"
#define HEX_N "0101010101010101010101010101010101010101010101010101010101010101" /* a new peer's */
#define HEX_0 "0000000000000000000000000000000000000000000000000000000000000000"

static struct control_listener listener;
static struct wireguard_socket *under_test;
static char socket_path[80];

/* 29 November 2026, when the monotonic clock shows 1000 s. */
static uint64_t moment = 1000 * NS_PER_S;

static uint64_t read_monotonic(const struct clock *clock)
{
	(void)clock;
	return moment;
}

static uint64_t read_wall(const struct clock *clock)
{
	(void)clock;
	return 1795910400 * NS_PER_S + moment - 1000 * NS_PER_S;
}

static const struct clock manual = {.monotonic = read_monotonic, .wall = read_wall};

static void begin(const char *text)
{
	struct error error = {0};
	gateway_begin(text);
	snprintf(socket_path, sizeof socket_path, "%s/wg.sock", directory);
	cr_assert_eq(control_listener_open_as(&listener, &wireguard_socket_kind, socket_path, &error), 0, "%s",
		     error.text);
	under_test = wireguard_socket_new(&running, &listener, &manual, &error);
	cr_assert_not_null(under_test, "%s", error.text);
}

static void end(void)
{
	wireguard_socket_free(under_test);
	control_listener_close(&listener);
	gateway_end();
}

static int dial(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	cr_assert_eq(connect(fd, (struct sockaddr *)&listener.address, sizeof listener.address), 0);
	wireguard_socket_poll(under_test);
	return fd;
}

static void say(int fd, const char *text)
{
	for (size_t sent = 0, length = strlen(text); sent < length;) {
		ssize_t now = send(fd, text + sent, length - sent, MSG_NOSIGNAL);
		cr_assert(now > 0 || errno == EAGAIN, "%s", strerror(errno));
		sent += now > 0 ? (size_t)now : 0;
		wireguard_socket_poll(under_test);
	}
}

/* All that comes until the end; the caller frees. */
static char *hear(int fd)
{
	size_t length = 0, room = 1 << 16;
	char *text = malloc(room);
	ssize_t got = -1;
	for (int idle = 0; idle < 200 && got != 0; idle++) {
		wireguard_socket_poll(under_test);
		while ((got = recv(fd, text + length, room - length - 1, 0)) > 0) {
			length += (size_t)got;
			idle = 0;
			if (room - length < 4096)
				text = realloc(text, room *= 2);
		}
	}
	cr_assert_eq(got, 0, "the answer has an end");
	text[length] = '\0';
	close(fd);
	return text;
}

static char *ask(const char *request)
{
	int fd = dial();
	say(fd, request);
	return hear(fd);
}

static void expect_answer(const char *request, const char *expected)
{
	char *answer = ask(request);
	cr_expect_str_eq(answer, expected, "%s", request);
	free(answer);
}

/* What "get" says of the peers: nothing may be changed when it is the same as before. */
static char *peers_now(void)
{
	return ask("get=1\n\n");
}

static bool shows(const char *part)
{
	char *text = peers_now();
	bool found = strstr(text, part) != NULL;
	if (!found)
		cr_log_info("%s is not in\n%s", part, text);
	free(text);
	return found;
}

#define SET(lines)	     expect_answer("set=1\n" lines "\n", "errno=0\n\n")
#define REFUSED(code, lines) refused_with(code, "set=1\n" lines "\n")

static void refused_with(int code, const char *request)
{
	char expected[32], *before = peers_now();
	snprintf(expected, sizeof expected, "errno=-%d\n\n", code);
	expect_answer(request, expected);
	char *after = peers_now();
	cr_expect_str_eq(after, before, "%s", request);
	free(before);
	free(after);
	cr_expect_eq(ended_count, 0, "%s", request);
}

/* --- get ---------------------------------------------------------------------------------------------------------- */

Test(wireguard_socket, shows_the_interface_and_its_peers_and_no_private_key)
{
	begin(SERVED "ListenPort = 51820\n" PEER(KEY_A) PEER(KEY_C) WIREGUARD
	      "Address = 10.8.0.9\nAllowedIPs = fd00:7::/64, 192.168.7.0/24\nPresharedKey = " KEY_D
	      "\nEndpoint = 192.0.2.9:7\nPersistentKeepalive = 25\n");
	expect_answer("get=1\n\n", "listen_port=51820\n"
				   "public_key=" HEX_C "\npreshared_key=" HEX_D "\nprotocol_version=1\n"
				   "endpoint=192.0.2.9:7\n"
				   "last_handshake_time_sec=0\nlast_handshake_time_nsec=0\nrx_bytes=0\ntx_bytes=0\n"
				   "persistent_keepalive_interval=25\n"
				   "allowed_ip=10.8.0.9/32\nallowed_ip=fd00:8::9/128\n"
				   "allowed_ip=192.168.7.0/24\nallowed_ip=fd00:7::/64\n"
				   "errno=0\n\n");
	end();
}

Test(wireguard_socket, shows_where_a_client_is_and_what_it_moved)
{
	begin(SERVED PEER(KEY_C) WIREGUARD "Endpoint = [2001:db8::1]:7\n");
	cr_expect(shows("endpoint=[2001:db8::1]:7\n"));
	struct session *session = connect_peer(KEY_C);
	session->endpoint.remote = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(4000)};
	inet_pton(AF_INET6, "::ffff:198.51.100.7", &session->endpoint.remote.sin6_addr);
	session_show_endpoint(session);
	atomic_store(&session->view.keyed, moment - 90 * NS_PER_S);
	session_count(&session->view.rx_bytes, 5);
	session_count(&session->view.tx_bytes, 1ull << 40);
	cr_expect(shows("endpoint=198.51.100.7:4000\nlast_handshake_time_sec=1795910310\nlast_handshake_time_nsec=0\n"
			"rx_bytes=5\ntx_bytes=1099511627776\n"));
	disconnect(session);
	cr_expect(shows("endpoint=[2001:db8::1]:7\nlast_handshake_time_sec=0\n"));
	end();
}

Test(wireguard_socket, what_is_no_request_is_refused)
{
	begin(SERVED PEER(KEY_C) WIREGUARD);
	expect_answer("get=2\n\n", "errno=22\n\n");
	expect_answer("hello\nset=1\n\n", "errno=22\n\n");
	expect_answer("get=1\nlisten_port=1\n\n", "errno=22\n\n");
	expect_answer("\n\n", "errno=22\n\n");
	int fd = dial();
	say(fd, "set=1\npublic_key=");
	shutdown(fd, SHUT_WR);
	char *text = hear(fd);
	cr_expect_str_eq(text, "errno=-71\n\n");
	free(text);
	fd = dial();
	say(fd, "get=1\n");
	moment += 5 * NS_PER_S;
	text = hear(fd);
	cr_expect_str_eq(text, "errno=110\n\n");
	free(text);
	close(dial()); /* wg(8) looks whether there is one */
	end();
}

static void add_numbered(uint32_t number, uint32_t networks)
{
	uint8_t key[KEY_SIZE] = {[31] = 1}, psk[KEY_SIZE] = {0};
	struct ip_prefix *behind = calloc(networks + 1, sizeof *behind);
	for (uint32_t i = 0; i < networks; i++) {
		behind[i] = (struct ip_prefix){{.family = 4, .bytes = {11}}, 32};
		store_be32(behind[i].address.bytes, (11u << 24) + (number << 12) + i);
	}
	const struct registry_peer peer = {.public_key = key,
					   .preshared_key = psk,
					   .protocol = PEER_WIREGUARD,
					   .networks = behind,
					   .network_count = networks};
	store_be32(key, number);
	cr_assert_eq(registry_add_peer(&registry, &peer, NULL), 0);
	free(behind);
}

static size_t count_of(const char *text, const char *part)
{
	size_t count = 0;
	while ((text = strstr(text, part)) != NULL) {
		text += strlen(part);
		count++;
	}
	return count;
}

Test(wireguard_socket, ten_thousand_peers_come_in_small_pieces)
{
	enum { MANY = 10000 };
	begin(SERVED);
	for (uint32_t i = 0; i < MANY; i++)
		add_numbered(i, 0);
	struct wireguard_get *get = wireguard_get_new(&running, &manual);
	size_t length, pieces = 0, peers = 0;
	for (char *text; (text = wireguard_get_next(get, &length)) != NULL; pieces++) {
		char *copy = strndup(text, length);
		peers += count_of(copy, "public_key=");
		cr_assert_leq(length, (size_t)WIREGUARD_GET_PIECE);
		free(copy);
		free(text);
	}
	wireguard_get_free(get);
	cr_expect_eq(peers, MANY);
	cr_expect_geq(pieces, 50);

	/* While one program takes its time, others are answered. */
	int slow = dial();
	say(slow, "get=1\n\n");
	for (int i = 0; i < 100; i++)
		wireguard_socket_poll(under_test);
	expect_answer("set=1\npublic_key=" HEX_N "\nremove=true\n\n", "errno=0\n\n");
	char *text = hear(slow);
	cr_expect_eq(count_of(text, "public_key="), MANY);
	cr_expect_not_null(strstr(text, "\nerrno=0\n\n"));
	free(text);
	end();
}

Test(wireguard_socket, a_peer_may_have_more_networks_than_a_piece_and_go_in_between)
{
	begin(SERVED);
	add_numbered(1, 3000);
	add_numbered(2, 1);
	char *text = peers_now();
	cr_expect_eq(count_of(text, "allowed_ip=11.0."), 3001);
	cr_expect_eq(count_of(text, "public_key="), 2);
	free(text);

	struct wireguard_get *get = wireguard_get_new(&running, &manual);
	size_t length;
	free(wireguard_get_next(get, &length));
	uint8_t key[KEY_SIZE] = {[3] = 1, [31] = 1};
	uint32_t ids[2];
	cr_assert(registry_remove_peer(&registry, key, ids));
	rcu_offline();
	rcu_after_readers_barrier();
	rcu_online();
	text = wireguard_get_next(get, &length);
	cr_assert_not_null(text);
	char *copy = strndup(text, length);
	cr_expect_eq(count_of(copy, "public_key="), 1);
	cr_expect_eq(count_of(copy, "allowed_ip=11.0."), 1);
	free(copy);
	free(text);
	wireguard_get_free(get);
	end();
}

/* --- set ---------------------------------------------------------------------------------------------------------- */

Test(wireguard_socket, adds_changes_and_removes_peers)
{
	begin(SERVED PEER(KEY_C) WIREGUARD "Name = carol\nAddress = 10.8.0.9\nRateUp = 8K\n");
	SET("public_key=" HEX_N "\npreshared_key=" HEX_D "\nendpoint=192.0.2.1:5\npersistent_keepalive_interval=7\n"
	    "replace_allowed_ips=true\nallowed_ip=10.8.0.77/32\nallowed_ip=10.99.0.1/16\n");
	cr_expect(shows("public_key=" HEX_N "\npreshared_key=" HEX_D "\nprotocol_version=1\nendpoint=192.0.2.1:5\n"));
	cr_expect(shows("persistent_keepalive_interval=7\nallowed_ip=10.8.0.77/32\nallowed_ip=fd00:8::4d/128\n"
			"allowed_ip=10.99.0.0/16\n"));
	SET("public_key=" HEX_N "\nallowed_ip=-10.99.0.0/16\nallowed_ip=10.98.0.0/16\npreshared_key=" HEX_0 "\n");
	cr_expect(shows("allowed_ip=fd00:8::4d/128\nallowed_ip=10.98.0.0/16\nerrno"));
	SET("public_key=" HEX_N "\nremove=true\npublic_key=" HEX_C
	    "\nallowed_ip=10.8.0.10/32\nallowed_ip=-10.8.0.9/32\n"
	    "allowed_ip=-fd00:8::9/128\n");
	cr_expect_not(shows(HEX_N));
	struct peer *peer = find_peer(KEY_C);
	cr_expect_str_eq(held_address(KEY_C), "10.8.0.10");
	cr_expect_str_eq(peer_name(peer), "carol", "it has its name and limits as before");
	cr_expect_eq(peer_limits(peer).up, 8);
	SET("public_key=" HEX_D "\nupdate_only=true\nallowed_ip=10.97.0.0/16\npublic_key=" HEX_N "\nremove=true\n");
	cr_expect_null(find_peer(KEY_D), "update_only makes no peer");
	SET("public_key=" HEX_D "\n");
	cr_expect_not_null(held_address(KEY_D), "a peer without allowed IPs has an address of the pool");
	SET("");
	end();
}

/* What "wg syncconf" sends of a file that says what is there. */
Test(wireguard_socket, what_is_as_it_was_keeps_its_session)
{
	char request[1024], hex[2 * KEY_SIZE + 1];
	begin(SERVED PEER(KEY_C) WIREGUARD "Address = 10.8.0.9\nAllowedIPs = 10.99.0.0/16\nPresharedKey = " KEY_D "\n");
	(void)connect_peer(KEY_C);
	snprintf(request, sizeof request,
		 "set=1\nprivate_key=%s\nlisten_port=5555\nfwmark=0\npublic_key=" HEX_C "\npreshared_key=" HEX_D
		 "\nreplace_allowed_ips=true\nallowed_ip=10.99.0.0/16\nallowed_ip=10.8.0.9/32\n\n",
		 sodium_bin2hex(hex, sizeof hex, running.wireguard_keys->private_key, KEY_SIZE));
	expect_answer(request, "errno=0\n\n");
	cr_expect_eq(ended_count, 0);
	SET("public_key=" HEX_C "\npersistent_keepalive_interval=25\nendpoint=[2001:db8::1]:7\n");
	cr_expect_eq(ended_count, 0, "how it is reached ends no session");
	cr_expect_eq(peer_contact(find_peer(KEY_C))->keepalive, 25);
	struct session *session = (struct session *)registry_peer_session(&registry, find_peer(KEY_C));
	uint32_t id = session->id;
	SET("public_key=" HEX_C "\nallowed_ip=10.8.0.10/32\nallowed_ip=-10.8.0.9/32\nallowed_ip=-fd00:8::9/128\n");
	cr_expect(ended_count >= 1 && ended[0] == id, "another address does");
	disconnect(session);
	end();
}

/* One that no handshake has confirmed, as a peer with an Endpoint has from the start, does not count. */
Test(wireguard_socket, sessions_that_were_confirmed_are_counted_when_their_peer_goes)
{
	size_t count = 0;
	struct registry_grant grant;
	begin(SERVED PEER(KEY_C) WIREGUARD PEER(KEY_D) WIREGUARD "Endpoint = 192.0.2.1:5\n");
	struct session *session = connect_peer(KEY_C);
	cr_assert(registry_stand(&registry, moment, &grant));
	cr_expect(gateway_peers_remove(&registry, find_peer(KEY_D)->public_key, WIRE_BYE_REMOVED, &running.ender,
				       &count));
	cr_expect(count == 0 && ended_count == 1 && ended[0] == grant.session_id);
	cr_expect(gateway_peers_remove(&registry, find_peer(KEY_C)->public_key, WIRE_BYE_REMOVED, &running.ender,
				       &count));
	cr_expect(count == 1 && ended_count == 2 && ended[1] == session->id);
	registry_abandon(&registry, &grant);
	disconnect(session);
	end();
}

/* The session that packets to an address go to. */
static uint32_t leads_to(const char *text)
{
	struct ip_address address;
	cr_assert(ip_address_parse(text, &address));
	return registry_route(&registry, address.family == 4 ? 4 : 6, address.bytes);
}

static void expect_preshared_key(const char *key_text, const char *expected)
{
	uint8_t key[KEY_SIZE], got[KEY_SIZE];
	cr_assert(key_parse(expected, key));
	peer_preshared_key(find_peer(key_text), got);
	cr_expect_arr_eq(got, key, KEY_SIZE);
}

/* As with the kernel's WireGuard. The last step is the worker's, when it is told. */
Test(wireguard_socket, other_networks_and_another_preshared_key_end_no_session)
{
	begin(SERVED PEER(KEY_C) WIREGUARD "Address = 10.8.0.9\nAllowedIPs = 10.99.0.0/16, 10.98.0.0/16\n" PEER(KEY_D)
		      WIREGUARD "Address = 10.8.0.10\n");
	struct session *carol = connect_peer(KEY_C), *dave = connect_peer(KEY_D);
	uint32_t id = carol->id;
	const struct peer *peer = find_peer(KEY_C);
	cr_assert_eq(leads_to("10.99.0.1"), id);
	SET("public_key=" HEX_C "\npreshared_key=" HEX_D "\n");
	expect_preshared_key(KEY_C, KEY_D);
	SET("public_key=" HEX_C "\nallowed_ip=-10.99.0.0/16\nallowed_ip=10.97.0.0/16\n");
	cr_expect_eq(limited_count, 2, "its worker was told of both");
	cr_expect_eq(limited[1], id);
	cr_expect_eq(leads_to("10.99.0.1"), 0, "what is taken away leads nowhere at once");
	cr_expect_eq(leads_to("10.98.0.1"), id);
	cr_expect_eq(leads_to("10.97.0.1"), 0);
	registry_attach_networks(&registry, carol);
	cr_expect_eq(leads_to("10.97.0.1"), id);

	SET("public_key=" HEX_C "\nallowed_ip=-10.97.0.0/16\npublic_key=" HEX_D "\nallowed_ip=10.97.0.0/16\n");
	registry_attach_networks(&registry, carol);
	cr_expect_eq(leads_to("10.97.0.1"), 0, "of another now");
	registry_attach_networks(&registry, dave);
	cr_expect_eq(leads_to("10.97.0.1"), dave->id);
	REFUSED(98, "public_key=" HEX_C "\nallowed_ip=10.97.0.0/16\n");
	REFUSED(98, "public_key=" HEX_C "\nallowed_ip=10.96.0.0/16\npublic_key=" HEX_D "\nallowed_ip=10.96.0.0/16\n");
	cr_expect_eq(leads_to("10.98.0.1"), id, "a refused one changed nothing");
	SET("public_key=" HEX_C "\nreplace_allowed_ips=true\nallowed_ip=10.8.0.9/32\n");
	cr_expect_eq(leads_to("10.98.0.1"), 0);
	cr_expect(ended_count == 0 && find_peer(KEY_C) == peer, "nobody had to go");
	cr_expect_eq(leads_to("10.8.0.9"), id);
	disconnect(carol);
	disconnect(dave);
	end();
}

Test(wireguard_socket, what_cannot_be_set_is_refused_and_nothing_changes)
{
	begin(SERVED PEER(KEY_A) "Address = 10.8.0.5\nAllowedIPs = 10.55.0.0/16\n" PEER(KEY_C) WIREGUARD
	      "Address = 10.8.0.9\nAllowedIPs = 10.99.0.0/16\n");
	/* the interface */
	REFUSED(95, "private_key=" HEX_N "\n");
	REFUSED(95, "private_key=" HEX_0 "\n");
	REFUSED(95, "listen_port=51820\n");
	REFUSED(95, "fwmark=1\n");
	REFUSED(95, "replace_peers=true\n");
	REFUSED(95, "replace_peers=true\npublic_key=" HEX_C "\n");
	REFUSED(22, "private_key=\n");
	REFUSED(22, "listen_port=65536\n");
	REFUSED(22, "fwmark=x\n");
	REFUSED(22, "replace_peers=false\n");
	/* no key, no value, the wrong place */
	REFUSED(22, "color=red\n");
	REFUSED(22, "public_key\n");
	REFUSED(22, "=\n");
	REFUSED(22, "allowed_ip=10.99.0.0/16\n");
	REFUSED(22, "public_key=" HEX_N "\nlisten_port=5555\n");
	REFUSED(22, "public_key=00\n");
	REFUSED(22, "public_key=" HEX_N "0\n");
	REFUSED(22, "public_key=x" HEX_N "\n");
	REFUSED(22, "public_key=" HEX_N "\nremove=yes\n");
	REFUSED(22, "public_key=" HEX_N "\npreshared_key=1\n");
	REFUSED(22, "public_key=" HEX_N "\nprotocol_version=2\n");
	REFUSED(22, "public_key=" HEX_N "\npersistent_keepalive_interval=65536\n");
	REFUSED(22, "public_key=" HEX_N "\nendpoint=192.0.2.1\n");
	REFUSED(22, "public_key=" HEX_N "\nendpoint=vpn.example.net:7\n");
	REFUSED(22, "public_key=" HEX_N "\nallowed_ip=10.99.0.0/33\n");
	REFUSED(22, "public_key=" HEX_N "\nallowed_ip=\n");
	REFUSED(22, "public_key=" HEX_N "\nallowed_ip=224.0.0.0/4\n");
	REFUSED(22, "public_key=" HEX_N "\npublic_key=" HEX_N "\n");
	/* what no peer of a gateway can have */
	REFUSED(95, "public_key=" HEX_N "\nallowed_ip=0.0.0.0/0\n");
	REFUSED(95, "public_key=" HEX_N "\nallowed_ip=::/0\n");
	REFUSED(95, "public_key=" HEX_N "\nallowed_ip=10.8.0.0/24\n");
	REFUSED(95, "public_key=" HEX_N "\nallowed_ip=10.0.0.0/8\n");
	REFUSED(95, "public_key=" HEX_N "\nallowed_ip=10.8.0.7/32\nallowed_ip=10.8.0.8/32\n");
	REFUSED(95, "public_key=" HEX_N "\nallowed_ip=10.8.0.10/32\nallowed_ip=fd00:8::10/128\n");
	REFUSED(99, "public_key=" HEX_N "\nallowed_ip=10.8.0.1/32\n");
	REFUSED(99, "public_key=" HEX_N "\nallowed_ip=10.8.255.255/32\n");
	/* what others have */
	REFUSED(98, "public_key=" HEX_N "\nallowed_ip=10.8.0.9/32\n");
	REFUSED(98, "public_key=" HEX_N "\nallowed_ip=10.8.0.5/32\n");
	REFUSED(98, "public_key=" HEX_N "\nallowed_ip=10.99.0.0/16\n");
	REFUSED(98, "public_key=" HEX_N "\nallowed_ip=10.55.0.0/16\n");
	REFUSED(98, "public_key=" HEX_N "\nallowed_ip=10.8.0.7/32\npublic_key=" HEX_D "\nallowed_ip=10.8.0.7/32\n");
	REFUSED(98, "public_key=" HEX_N "\nallowed_ip=10.7.0.0/16\npublic_key=" HEX_D "\nallowed_ip=10.7.0.0/16\n");
	end();
}

Test(wireguard_socket, a_request_that_is_wrong_in_part_changes_nothing)
{
	begin(SERVED PEER(KEY_C) WIREGUARD "Address = 10.8.0.9\n");
	REFUSED(22, "public_key=" HEX_C "\nremove=true\npublic_key=" HEX_N "\nallowed_ip=nonsense\n");
	REFUSED(98, "public_key=" HEX_D "\npublic_key=" HEX_C "\npreshared_key=" HEX_D "\npublic_key=" HEX_N
		    "\nallowed_ip=10.8.0.9/32\n");
	cr_expect_null(find_peer(KEY_D));
	end();
}

Test(wireguard_socket, peers_of_the_own_protocol_are_not_seen)
{
	begin(SERVED PEER(KEY_C));
	cr_expect_not(shows("public_key="));
	SET("replace_peers=true\npublic_key=" HEX_C "\nremove=true\n");
	cr_expect_not_null(find_peer(KEY_C));
	SET("public_key=" HEX_C "\nupdate_only=true\nallowed_ip=10.99.0.0/16\n");
	REFUSED(17, "public_key=" HEX_C "\nallowed_ip=10.99.0.0/16\n");
	cr_expect_eq(peer_protocol(find_peer(KEY_C)), PEER_SHARDTUN);
	end();
}

Test(wireguard_socket, peers_may_exchange_what_they_have)
{
	begin(SERVED PEER(KEY_C) WIREGUARD "Address = 10.8.0.9\nAllowedIPs = 10.99.0.0/16\n" PEER(KEY_D) WIREGUARD
	      "Address = 10.8.0.10\n");
	SET("public_key=" HEX_C "\nreplace_allowed_ips=true\nallowed_ip=10.8.0.10/32\npublic_key=" HEX_D
	    "\nreplace_allowed_ips=true\nallowed_ip=10.8.0.9/32\nallowed_ip=10.99.0.0/16\n");
	cr_expect_str_eq(held_address(KEY_C), "10.8.0.10");
	cr_expect_str_eq(held_address(KEY_D), "10.8.0.9");
	cr_expect_eq(peer_networks(find_peer(KEY_D))->count, 1);
	SET("public_key=" HEX_D "\nremove=true\npublic_key=" HEX_N
	    "\nallowed_ip=10.8.0.9/32\nallowed_ip=10.99.0.0/16\n");
	cr_expect(shows("public_key=" HEX_N));
	end();
}

/* Some 800 KB in one request. */
Test(wireguard_socket, thousands_of_peers_in_one_request)
{
	enum { MANY = 5000 };
	char *request;
	size_t size;
	FILE *out = open_memstream(&request, &size);
	begin(SERVED PEER(KEY_C) WIREGUARD);
	fputs("set=1\n", out);
	for (unsigned i = 0; i < MANY; i++)
		fprintf(out, "public_key=%08x%056x\nreplace_allowed_ips=true\nallowed_ip=10.8.%u.%u/32\n", i, 1,
			16 + i / 256, i % 256);
	for (unsigned i = 0; i < 10; i++)
		fprintf(out, "public_key=%08x%056x\n", i, 2);
	fputs("\n", out);
	fclose(out);
	expect_answer(request, "errno=0\n\n");
	char *text = peers_now();
	cr_expect_eq(count_of(text, "public_key="), MANY + 11);
	cr_expect_eq(count_of(text, "allowed_ip=10.8."), MANY + 11);
	free(text);
	expect_answer(request, "errno=0\n\n");
	free(request);
	end();
}
