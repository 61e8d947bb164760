// SPDX-License-Identifier: Apache-2.0
/* A gateway and its clients in one process, without root: real workers and roles over Unix sockets (link.h,
 * tun_pair.h), and either a clock that the test moves or the system's.
 *
 *   struct harness *h = harness_new(&(struct harness_options){.clients = 1});
 *   harness_connect(h, 0);                    the client gets the gateway's address
 *   harness_advance(h, 1 * NS_PER_S);         timers and messages take their course
 *   ... node_put_packet(), node_take(), node_counter() ...
 *   assert(harness_problem(h) == NULL);       conservation, nonces, pool: at the end of every test
 *   harness_free(h);
 *
 * Tests of threads call harness_spawn_gateway() and harness_spawn_client() instead of harness_pump(). */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/sessions/registry.h"
#include "tests/harness/checked_aead.h"
#include "tests/harness/link.h"
#include "tests/harness/packets.h"
#include "tests/harness/tun_pair.h"
#include "workers/client_role.h"
#include "workers/gateway_role.h"
#include "workers/handshaker.h"
#include "workers/tun_reader.h"
#include "workers/worker.h"

enum {
	HARNESS_CLIENTS = 16,
	HARNESS_WORKERS = 8,
	HARNESS_HANDSHAKERS = 3,
	HARNESS_PORT = 5555,
	HARNESS_MTU = 1420,
	HARNESS_REKEY_INTERVAL = 120,
	HARNESS_SESSION_TIMEOUT = 180,
};

/* What a test may choose; zero means the default. */
struct harness_options {
	size_t clients;
	size_t listed;				  /* how many of them the gateway knows; 0: all */
	bool unproven;				  /* none has shown a cookie to it yet; see harness_start_gateway() */
	const char *address4;			  /* the gateway's, with the pool's prefix; "10.8.0.1/24" */
	const char *address6;			  /* "fd00:8::1/64" */
	uint32_t max_sessions;			  /* 64 */
	unsigned workers;			  /* of the gateway; 1 */
	unsigned handshakers;			  /* 1 */
	bool reader;				  /* a TUN reader feeds them; else each worker reads the TUN */
	bool sparse;				  /* the TUN has a queue for sparse flows: the test fills it */
	bool sparse_udp;			  /* so does the socket of the first worker */
	bool always_cookie;			  /* the gateway asks every HELLO for a cookie */
	bool wireguard;				  /* it serves WireGuard clients: tests/harness/wireguard.h */
	bool late_ephemerals;			  /* it makes no key pairs ahead */
	uint16_t mtu;				  /* of both sides; HARNESS_MTU */
	uint32_t rekey_interval, session_timeout; /* s */
	uint32_t suites;			  /* the gateway's, bit by number; both */
	uint8_t client_suites[WIRE_SUITES_MAX];	  /* in their order; both, AES first where it is there */
	uint32_t persistent_keepalive;		  /* s */
	bool client_to_client;
	const char *fixed[HARNESS_CLIENTS];	  /* a client's own inner address; NULL: from the pool */
	const char *networks[HARNESS_CLIENTS][2]; /* behind a client */
	struct peer_limits limits[HARNESS_CLIENTS];
	bool reset;
	bool no_offloads;	   /* of both TUNs */
	bool ipv6_outside;	   /* outer addresses are IPv6 */
	bool fast_aead;		   /* the plain engine: nonces are not checked, nothing is allocated */
	uint32_t stage_sampling;   /* 0 none */
	uint32_t block_peers;	   /* of a block: the gateway is in a cluster, and owns none yet; 0: it is alone */
	const struct clock *clock; /* the manual one */
};

struct manual_clock {
	struct clock base;
	uint64_t monotonic, wall;
};

/* A frame that came out of a TUN: virtio-net header and packet. */
struct frame {
	uint8_t *data;
	uint32_t length;
};

/* What gateway and clients have in common. */
struct node {
	struct link link;
	struct tun_pair tun;
	struct checked_aead checked;
	struct aead_engine *fast;   /* used instead of `checked` if not NULL */
	struct worker *worker;	    /* NULL while it is down */
	struct session_table table; /* the client's */
	const struct stats *stats[HARNESS_WORKERS + HARNESS_HANDSHAKERS + 1]; /* of all its threads */
	size_t stats_count;
	const struct clock *clock;
	uint32_t stage_sampling;
	pthread_t thread;     /* of the worker, when spawned */
	struct frame *frames; /* taken off the TUN, in order */
	size_t frame_count, frame_first, frame_room;
};

/* A handshake thread of the gateway. */
struct handshake_node {
	struct node node; /* link and cipher of it are used */
	struct copy_ring *copies;
	struct handshaker *handshaker;
	pthread_t thread;
};

struct gateway_node {
	struct node node; /* the first worker; all write to its TUN */
	struct node others[HARNESS_WORKERS - 1];
	struct handshake_node handshakes[HARNESS_HANDSHAKERS];
	struct tun_reader *reader;
	struct tun_pair sparse; /* with `sparse` */
	struct sparse_queue sparse_shared;
	struct link sparse_link; /* with `sparse_udp` */
	struct sparse_sessions sparse_sessions;
	pthread_t reader_thread;
	struct link *group[HARNESS_WORKERS + HARNESS_HANDSHAKERS];
	uint32_t held; /* threads that harness_pump() passes over: bit by their number in the group */
	struct link_group links;
	struct handoff handoff;
	struct handoff_target targets[HARNESS_WORKERS + HARNESS_HANDSHAKERS];
	struct copy_ring *copies[HARNESS_WORKERS];
	struct inbox *inboxes[HARNESS_WORKERS];
	struct waker *wakers[HARNESS_WORKERS];
	struct inbox *initiators[HARNESS_HANDSHAKERS];
	struct event_queue events; /* what is not taken is freed at the end */
	struct handshaker_common common;
	struct cookie_jar jar;
	struct reset_secret reset_secret;
	struct handshake_identity identity, wireguard;
	struct fence fence; /* with `block_peers` */
	struct registry registry;
	struct gateway_role role; /* of the first worker */
	struct gateway_role other_roles[HARNESS_WORKERS - 1];
};

struct client_node {
	struct node node;
	struct handshake_identity identity;
	struct handshake_remote remote;
	struct ip_set allowed, networks;
	struct client_role role;
	struct client_snapshot seen; /* the newest snapshot that was taken */
	size_t snapshots;
};

struct harness {
	struct harness_options options;
	struct network network;
	struct manual_clock clock;
	struct sockaddr_in6 gateway_address;
	struct gateway_node gateway;
	struct client_node clients[HARNESS_CLIENTS];
	char problem[256];
};

/* Aborts when the machine cannot (no memory, no descriptors). */
struct harness *harness_new(const struct harness_options *options);
void harness_free(struct harness *harness); /* NULL is allowed */

/* Tells a client where the gateway is: it starts to connect. */
void harness_connect(struct harness *harness, size_t client);

/* Connects all clients and waits until they are up; false after 5 s of the manual clock. */
bool harness_up(struct harness *harness);

/* Turns all workers and collects what their TUNs got, until nothing moves any more. */
void harness_pump(struct harness *harness);

/* Moves the manual clock in steps of WORKER_TICK_NS, and pumps after each. */
void harness_advance(struct harness *harness, uint64_t ns);

/* Advances until the client is in this state; false when it is not after `ns`. */
bool harness_wait(struct harness *harness, size_t client, enum client_state state, uint64_t ns);

/* What is wrong at this quiet moment, or NULL: a packet that was neither delivered nor counted as dropped, a nonce that
 * was used twice, an address or a gauge that does not match the sessions there are. */
const char *harness_problem(struct harness *harness);

/* The client takes packets from these networks alone from now on; all, unless called. */
void harness_allow(struct harness *harness, size_t client, const char *const *networks, size_t count);

/* Ends a worker: with BYE (`orderly`), or as if the machine was switched off. Its link and TUN stay. */
void harness_stop_gateway(struct harness *harness, bool orderly);
void harness_stop_client(struct harness *harness, size_t client, bool orderly);

/* A new process with the same identity and configuration, which remembers nothing. The client has still to be
 * connected. A gateway asks each peer for a cookie after its start; but unless a test is about that, the first
 * gateway is one that its peers have shown theirs to, a moment ago. */
void harness_start_gateway(struct harness *harness);
void harness_start_client(struct harness *harness, size_t client);

struct peer *harness_peer(struct harness *harness, size_t client);		 /* NULL when not listed */
struct session *harness_gateway_session(struct harness *harness, size_t client); /* the active one, or NULL */
struct session *harness_pending_session(struct harness *harness, size_t client); /* the pending one, or NULL */
struct session *harness_client_session(struct harness *harness, size_t client);	 /* or NULL */

/* Runs what is up on threads of their own, and ends them in order: each says BYE. The caller is offline under RCU while
 * the gateway runs. What is left in queues is the caller's to pump afterwards. */
void harness_spawn_gateway(struct harness *harness);
void harness_join_gateway(struct harness *harness);
void harness_spawn_client(struct harness *harness, size_t client);
void harness_join_client(struct harness *harness, size_t client);

/* Takes what a client reported since, if anything. */
void harness_take_snapshot(struct client_node *client);

/* Waits until a client on a thread of its own reports that state; false: it did not within `limit_ms`. */
bool harness_await_state(struct client_node *client, enum client_state state, unsigned limit_ms);

/* The gateway's worker of this number; that of a session. */
struct worker *harness_gateway_worker(struct harness *harness, unsigned index);
struct worker *harness_owner(struct harness *harness, uint32_t session_id);

/* The operator lists a client (again), or takes it off the list, as core/gateway does: its sessions are asked to end. 0
 * or what the registry says. */
int harness_add_peer(struct harness *harness, size_t client);
bool harness_remove_peer(struct harness *harness, size_t client);

/* The operator changes a client's limits, and the worker of its session is told. */
void harness_limit_peer(struct harness *harness, size_t client, const struct peer_limits *limits);

/* The same with the networks behind it; one bit of the pre-shared key that the gateway has for it. */
void harness_change_networks(struct harness *harness, size_t client, const struct ip_prefix *networks, size_t count);
void harness_change_preshared_key(struct harness *harness, size_t client);

/* --- packets ------------------------------------------------------------------------------------------------------ */

enum direction { TO_GATEWAY, TO_CLIENT };

/* TCP or UDP between a client's inner address and a host behind the gateway. The client must have a session. */
struct packet_spec harness_spec(struct harness *harness, size_t client, enum direction direction, uint8_t version,
				uint8_t protocol);

/* An ICMP or ICMPv6 echo request between the same two, with `size` bytes of data. Returns its length. */
size_t harness_echo(struct harness *harness, size_t client, enum direction direction, uint8_t version,
		    uint16_t sequence, size_t size, uint8_t *packet);

/* Puts a packet (an empty virtio-net header is added), or a frame that has one, into the node's TUN. */
void node_put_packet(struct node *node, const uint8_t *packet, size_t length);
void node_put_frame(struct node *node, const uint8_t *frame, size_t length);

/* Puts a message into the first worker's second socket, as the kernel's program would (`sparse_udp`). */
void harness_inject_sparse(struct harness *harness, const struct udp_message *message);

/* The next frame that the worker wrote to its TUN; NULL when there is none. Valid until the next harness_pump(). */
const struct frame *node_take(struct node *node);
size_t node_waiting(const struct node *node);

/* The next packet that the worker wrote: it must be a plain frame. NULL otherwise. */
const uint8_t *node_take_packet(struct node *node, size_t *length);

/* Sends one small UDP packet through the tunnel and says whether exactly it came out at the other end. */
bool harness_ping(struct harness *harness, size_t client, enum direction direction);

/* --- what happened ------------------------------------------------------------------------------------------------ */

uint64_t node_counter(const struct node *node, enum stats_counter counter);
uint64_t node_drops(const struct node *node, enum drop_reason reason);

/* Seals a transport message under a session's key as its owner would, counter included, but unseen by the check of
 * nonces. Returns its length. */
uint32_t node_seal(struct node *node, struct session *session, struct transport_key *key, enum wire_type type,
		   const uint8_t *plaintext, uint32_t length, uint8_t *message);
