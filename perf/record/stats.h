// SPDX-License-Identifier: Apache-2.0
/* Counters and drop reasons of one data-path thread.
 *
 * Single writer: only the owning thread writes, with a relaxed load and store; any thread may read with relaxed loads
 * and sum over threads. Conservation holds, whenever no packet is in flight, in the sum over all threads (one thread
 * may receive what another delivers):
 *
 *   udp_rx_packets = tun_tx_packets + rx_control + sum of the UPLINK drops
 *   tun_rx_packets = udp_tx_data + sum of the DOWNLINK drops
 *
 * where a super-packet counts as the packets that it will be segmented into. What the kernel drops before it can be
 * read, or after it was written, is in none of these: core/daemon/interface_drops.h. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "core/base/bytes.h"
#include "core/base/owner.h"

/* X(name, text): the name is also the Prometheus name with _total. */
#define STATS_COUNTERS(X)                                                                              \
	X(udp_rx_packets, "Datagrams received")                                                        \
	X(udp_rx_bytes, "Bytes of datagrams received")                                                 \
	X(sparse_datagrams, "Datagrams of sessions or flows that send little, received ahead")         \
	X(udp_rx_calls, "Receive system calls that returned data")                                     \
	X(udp_tx_packets, "Datagrams sent")                                                            \
	X(udp_tx_bytes, "Bytes of datagrams sent")                                                     \
	X(udp_tx_calls, "Send system calls")                                                           \
	X(udp_tx_data, "Datagrams sent that carry an inner packet")                                    \
	X(udp_tx_control, "Datagrams sent that carry none")                                            \
	X(udp_tx_fallback, "Super-datagrams sent one by one because the device refused")               \
	X(tun_rx_packets, "Packets read from the TUN, super-packets counted by segment")               \
	X(tun_rx_bytes, "Bytes of packets read from the TUN")                                          \
	X(tun_rx_frames, "Frames read from the TUN")                                                   \
	X(sparse_packets, "Packets of flows that send little, read from the TUN ahead of the others")  \
	X(tun_tx_packets, "Packets written to the TUN, super-packets counted by segment")              \
	X(tun_tx_bytes, "Bytes of packets written to the TUN")                                         \
	X(tun_tx_frames, "Frames written to the TUN")                                                  \
	X(tun_tx_icmp, "ICMP too-big messages written to the TUN")                                     \
	X(rx_control, "Datagrams received and accepted that carry no inner packet")                    \
	X(rx_hello, "HELLO accepted")                                                                  \
	X(rx_welcome, "WELCOME accepted")                                                              \
	X(rx_cookie, "COOKIE accepted")                                                                \
	X(rx_client_ack, "CLIENT_ACK accepted")                                                        \
	X(rx_keepalive, "KEEPALIVE accepted")                                                          \
	X(rx_bye, "BYE accepted")                                                                      \
	X(rx_reset, "RESET of the own session, followed or not")                                       \
	X(rx_wg_initiation, "WireGuard handshake initiations accepted")                                \
	X(rx_wg_response, "WireGuard handshake responses accepted")                                    \
	X(rx_wg_cookie, "WireGuard cookie replies accepted")                                           \
	X(tx_hello, "HELLO sent")                                                                      \
	X(tx_welcome, "WELCOME sent")                                                                  \
	X(tx_client_ack, "CLIENT_ACK sent")                                                            \
	X(tx_keepalive, "KEEPALIVE sent")                                                              \
	X(tx_bye, "BYE sent")                                                                          \
	X(tx_reset, "RESET sent")                                                                      \
	X(tx_cookie, "COOKIE sent")                                                                    \
	X(tx_wg_initiation, "WireGuard handshake initiations sent")                                    \
	X(tx_wg_response, "WireGuard handshake responses sent")                                        \
	X(tx_wg_cookie, "WireGuard cookie replies sent")                                               \
	X(wg_unanswered, "WireGuard handshakes of ours that were given up: no response in 90 s")       \
	X(staged_frames, "Frames that waited for keys, while a WireGuard handshake of ours was tried") \
	X(handshakes_late, "Answered HELLOs whose session or peer was gone before their keys arrived") \
	X(handed_over, "Datagrams received for another thread, and copied to it")                      \
	X(forwards_sent, "HELLOs handed to the gateway of the cluster that owns their block")          \
	X(forwards_unsent, "HELLOs for other gateways' blocks whose owner ClusterLink does not reach") \
	X(forwards_taken, "HELLOs that another gateway of the cluster handed to this one")             \
	X(wakes, "Threads that were woken from sleep")                                                 \
	X(sessions_started, "Sessions confirmed by their client")                                      \
	X(sessions_ended, "Confirmed sessions that ended")                                             \
	X(rekeys, "New keys confirmed on a session that lived on")                                     \
	X(roams, "Moves of a session's endpoint")                                                      \
	X(endpoint_loops, "Endpoints not taken, which lead into the session's own tunnel")             \
	X(paths_proven, "New endpoints of sessions that answered a ping")                              \
	X(paths_refused, "New endpoints that did not: the session went back")                          \
	X(limited_packets, "Packets that waited since their session was at its RateUp or RateDown")    \
	X(sleeps, "Times the loop went to sleep")                                                      \
	X(yields, "Times that a thread let others have the CPU before it went on")                     \
	X(empty_calls, "Receive, TUN read and epoll system calls that found nothing")

/* X(name, text): figures that go up and down; the name is also the Prometheus name. */
#define STATS_GAUGES(X)                                                                        \
	X(waiting_sessions, "Sessions at their RateUp or RateDown, packets of which wait now") \
	X(waiting_bytes, "Bytes of the packets that wait for those sessions")

/* X(name, direction, label, text): one reason for each way a packet can be lost; direction is UPLINK or DOWNLINK. */
#define STATS_DROPS(X)                                                                                              \
	X(DROP_RUNT, UPLINK, "runt", "shorter than the smallest message of its type")                               \
	X(DROP_TRUNCATED, UPLINK, "truncated", "longer than the receive buffer")                                    \
	X(DROP_OVERSIZED, UPLINK, "oversized", "longer than its type allows")                                       \
	X(DROP_VERSION, UPLINK, "version", "another protocol version")                                              \
	X(DROP_TYPE, UPLINK, "type", "unknown message type, or one that this side does not take")                   \
	X(DROP_SESSION, UPLINK, "unknown_session", "no session with this ID")                                       \
	X(DROP_BLOCK, UPLINK, "foreign_block", "of a client in a block that this gateway does not own now")         \
	X(DROP_EPOCH, UPLINK, "unknown_epoch", "no live key of this epoch")                                         \
	X(DROP_PROTOCOL, UPLINK, "protocol", "of another protocol than its session's")                              \
	X(DROP_FORGED, UPLINK, "forged", "the tag does not match")                                                  \
	X(DROP_REPLAY, UPLINK, "replay", "seen before, or older than the replay window")                            \
	X(DROP_PAYLOAD, UPLINK, "payload", "authentic, but the payload is not of its type")                         \
	X(DROP_INNER_MALFORMED, UPLINK, "inner_malformed", "the inner packet is not IPv4 or IPv6 of that length")   \
	X(DROP_INNER_SOURCE, UPLINK, "inner_source", "the inner source is not the sender's")                        \
	X(DROP_INNER_DESTINATION, UPLINK, "inner_destination", "the inner destination may not be reached this way") \
	X(DROP_ECN, UPLINK, "ecn",                                                                                  \
	  "congestion was experienced outside and the inner transport does not understand it")                      \
	X(DROP_LIMIT_UP, UPLINK, "limit_up",                                                                        \
	  "above the peer's RateUp, and there was no room to wait, or it waited too long")                          \
	X(DROP_QUOTA_UP, UPLINK, "quota_up", "the peer's Quota is used up")                                         \
	X(DROP_TUN_WRITE, UPLINK, "tun_write", "the TUN refused the packet")                                        \
	X(DROP_MAC1, UPLINK, "mac1", "HELLO, WELCOME or initiation not made for this key")                          \
	X(DROP_HANDSHAKE_FORGED, UPLINK, "handshake_forged", "the handshake message does not open")                 \
	X(DROP_UNKNOWN_PEER, UPLINK, "unknown_peer",                                                                \
	  "HELLO or initiation from a public key that is not listed with this protocol")                            \
	X(DROP_STALE, UPLINK, "stale",                                                                              \
	  "HELLO that may be a recording: not newer than the peer's last, or its first since the start")            \
	X(DROP_NO_SUITE, UPLINK, "no_suite", "HELLO without a suite that is offered here")                          \
	X(DROP_NO_ADDRESS, UPLINK, "no_address", "HELLO, but the address pool or session table is full")            \
	X(DROP_COOKIE, UPLINK, "cookie", "HELLO without proof of its source, while there is load")                  \
	X(DROP_HELLO_LATE, UPLINK, "hello_late",                                                                    \
	  "HELLO that waited for too long while there was load, or for which there was no room")                    \
	X(DROP_HANDOFF, UPLINK, "handoff", "received for another thread, whose ring is full")                       \
	X(DROP_HELLO_RATE, UPLINK, "hello_rate", "HELLO above the rate of its source or peer")                      \
	X(DROP_UNEXPECTED, UPLINK, "unexpected",                                                                    \
	  "WELCOME, COOKIE, RESET, response or cookie reply that answers nothing of ours")                          \
	X(DROP_OUT_MALFORMED, DOWNLINK, "out_malformed", "the TUN gave something that is not IPv4 or IPv6")         \
	X(DROP_OUT_NO_SESSION, DOWNLINK, "out_no_session", "no session for the destination")                        \
	X(DROP_OUT_NO_KEY, DOWNLINK, "out_no_key", "the session has no key to seal with")                           \
	X(DROP_OUT_STAGED, DOWNLINK, "out_staged",                                                                  \
	  "waited for keys, while a WireGuard handshake of ours was tried, and newer ones needed the room")         \
	X(DROP_OUT_UNANSWERED, DOWNLINK, "out_unanswered",                                                          \
	  "waited for keys, but the WireGuard peer did not answer a handshake")                                     \
	X(DROP_OUT_LIMIT, DOWNLINK, "out_key_limit", "the key's packet limit is reached")                           \
	X(DROP_OUT_TOO_BIG, DOWNLINK, "out_too_big", "longer than the session's MTU")                               \
	X(DROP_OUT_PATH, DOWNLINK, "out_path", "the session moved, and its new endpoint is not proven yet")         \
	X(DROP_OUT_RING, DOWNLINK, "out_ring", "the session's worker is too far behind")                            \
	X(DROP_OUT_QUEUE, DOWNLINK, "out_queue", "waited too long for the session's worker (CoDel)")                \
	X(DROP_LIMIT_DOWN, DOWNLINK, "limit_down",                                                                  \
	  "above the peer's RateDown, and there was no room to wait, or it waited too long")                        \
	X(DROP_QUOTA_DOWN, DOWNLINK, "quota_down", "the peer's Quota is used up")                                   \
	X(DROP_OUT_SEND, DOWNLINK, "out_send", "the socket refused the datagram")

enum drop_direction { UPLINK, DOWNLINK };

enum drop_reason {
#define X(name, direction, label, text) name,
	STATS_DROPS(X)
#undef X
		DROP_COUNT,
	DROP_NONE = DROP_COUNT, /* returned by a data-path function when the packet is not dropped */
};

struct drop_info {
	enum drop_direction direction;
	const char *label;
	const char *text;
};
extern const struct drop_info drop_infos[DROP_COUNT];

enum stats_counter {
#define X(name, text) STATS_##name,
	STATS_COUNTERS(X)
#undef X
		STATS_COUNTER_COUNT,
};

enum stats_gauge {
#define X(name, text) STATS_##name,
	STATS_GAUGES(X)
#undef X
		STATS_GAUGE_COUNT,
};

struct counter_info {
	const char *name;
	const char *text;
};
extern const struct counter_info counter_infos[STATS_COUNTER_COUNT];
extern const struct counter_info gauge_infos[STATS_GAUGE_COUNT];

struct stats {
	_Atomic uint64_t counters[STATS_COUNTER_COUNT] CACHE_ALIGNED;
	_Atomic uint64_t drops[DROP_COUNT];
	_Atomic uint64_t gauges[STATS_GAUGE_COUNT];
	struct owner owner;
} CACHE_ALIGNED;

/* A copy of the sums for a reader. */
struct stats_snapshot {
	uint64_t counters[STATS_COUNTER_COUNT];
	uint64_t drops[DROP_COUNT];
	uint64_t gauges[STATS_GAUGE_COUNT];
};

/* Owner only. */
static inline void stats_bump(_Atomic uint64_t *word, uint64_t by)
{
	atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + by, memory_order_relaxed);
}
#define stats_add(stats, name, by) stats_count((stats), STATS_##name, (by))

static inline void stats_count(struct stats *stats, enum stats_counter counter, uint64_t by)
{
	owner_check(&stats->owner, "counters");
	stats_bump(&stats->counters[counter], by);
}

static inline void stats_drop(struct stats *stats, enum drop_reason reason, uint64_t packets)
{
	owner_check(&stats->owner, "counters");
	stats_bump(&stats->drops[reason], packets);
}

/* Sets a gauge: of STATS_GAUGES. */
#define stats_set(stats, name, value) stats_gauge((stats), STATS_##name, (value))

static inline void stats_gauge(struct stats *stats, enum stats_gauge gauge, uint64_t value)
{
	owner_check(&stats->owner, "counters");
	atomic_store_explicit(&stats->gauges[gauge], value, memory_order_relaxed);
}

/* Adds a thread's figures to the snapshot. Any thread. */
void stats_read(const struct stats *stats, struct stats_snapshot *sum);

/* Sum of all counters and drops: only good to tell whether any of them changed. Any thread. */
uint64_t stats_total(const struct stats *stats);

/* System calls of the data path: receives, sends, TUN reads and writes, those that found nothing included, sleeps,
 * yields, and for each wake-up a write and a read. */
uint64_t stats_calls(const struct stats_snapshot *snapshot);

/* Packets that came through in either direction, super-packets counted by segment. */
uint64_t stats_carried(const struct stats_snapshot *snapshot);

/* Sum of the drops of one direction. */
uint64_t stats_drop_sum(const struct stats_snapshot *snapshot, enum drop_direction direction);

/* Sum of the drops of packets for which a queue of ours had no room, or in which they waited for too long. */
uint64_t stats_drop_queueing(const struct stats_snapshot *snapshot);
