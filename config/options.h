// SPDX-License-Identifier: Apache-2.0
/* Every option of the configuration files, once. The parser, --help and the check of manual and examples follow.
 *
 * X(name, type, low, high, member, default, form, help)
 *   type       one of VALUE_TYPES (config/value.h), which says what low…high limit
 *   member     of struct gateway_config, config_peer or client_config; its C type is checked against the type's
 *   default    text that is parsed like a user's; "" leaves zero; NULL makes the option mandatory
 *   form       what to write, as --help shows it
 *   help       one line for --help */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "config/value.h"
#include "core/base/cpu.h"

/* Both sides: struct config_common */
#define IDENTITY_OPTIONS(X)                                                                   \
	X(PrivateKeyFile, path, 0, 4095, common.private_key_file, "", "PATH",                 \
	  "file with our private key, as 'shardtun genkey' prints it, unreadable for others") \
	X(PrivateKey, secret_key, 0, 0, common.private_key, "", "KEY",                        \
	  "the private key itself instead; then this file must be unreadable for others")     \
	X(Interface, interface, 0, 0, common.interface, "shardtun0", "NAME", "name of the TUN interface to create")

#define TUNING_OPTIONS(X)                                                                         \
	X(Cipher, cipher, 0, 0, common.cipher, "auto", "auto|AES-256-GCM|ChaCha20-Poly1305",      \
	  "cipher suites to agree to; auto: whatever is fastest on both sides")                   \
	X(CryptoBackend, backend, 0, 0, common.crypto_backend, "auto", "auto|LIBRARY[:PATH]",     \
	  "library that encrypts, such as sodium or ipsec-mb:avx2; a wrong name lists all")       \
	X(DisableOffloads, offloads, 0, 0, common.disabled_offloads, "", "OFFLOAD, ...",          \
	  "not to be used: tun-checksum, tun-tso, tun-uso, udp-gso, udp-gro")                     \
	X(StageSampling, number, 0, 1000000, common.stage_sampling, "64", "0..1000000",           \
	  "time the stages of one batch in so many; 0: of none")                                  \
	X(CpuPriority, cpu_priority, 0, 0, common.cpu_priority, "normal", "normal|high|realtime", \
	  "of the threads that move packets, where other programs need the same CPUs")            \
	X(UdpBuffer, size, 65536, 1 << 30, common.udp_buffer, "3M", "64K..1G",                    \
	  "bytes that the kernel may queue for the UDP socket, each way")                         \
	X(ControlSocket, path, 0, 107, common.control_socket, "", "PATH",                         \
	  "where shardtunctl finds us; unless given /run/shardtun/INTERFACE.sock")                \
	X(Seccomp, yes_no, 0, 0, common.seccomp, "yes", "yes|no",                                 \
	  "end by system calls that are not needed once it runs")                                 \
	X(LogLevel, log_level, 0, 0, common.log_level, "info", "error|warning|info|debug", "the least that is logged")

/* What the gateway changes of the machine that it runs on: struct gateway_config */
#define ROUTER_OPTIONS(X)                                                                                            \
	X(Forward, yes_no, 0, 0, forward, "no", "yes|no", "switch on the forwarding of packets beyond this machine") \
	X(Masquerade, interfaces, 0, CONFIG_MASQUERADE, masquerade, "", "INTERFACE, ...",                            \
	  "what leaves by these goes out under this machine's own address")                                          \
	X(HideAddresses, yes_no, 0, 0, hide_addresses, "no", "yes|no", "keep clients' outer addresses out of the log")

/* Of a gateway that shares address and key with others: struct gateway_config */
#define CLUSTER_OPTIONS(X)                                                                                        \
	X(ClusterNode, name, 1, CONFIG_NODE_SIZE - 1, cluster_node, "", "NAME",                                   \
	  "our name among several gateways with one address and key; then shardtun-agent says which clients are " \
	  "served")                                                                                               \
	X(ClusterBlockSize, number, CONFIG_BLOCK_LOW, CONFIG_BLOCK_HIGH, cluster_block_size, "4096", "16..65536", \
	  "addresses of a block, which one of them serves; a power of two, the same on all")                      \
	X(ClusterLink, endpoint, 0, 0, cluster_link, "", "ADDRESS:PORT",                                          \
	  "our address and UDP port on the link between them, where they hand over HELLOs")                       \
	X(ClusterOutside, name, 1, CONFIG_INTERFACE_SIZE - 1, cluster_outside, "", "INTERFACE",                   \
	  "where clients' datagrams arrive: what is other gateways' is handed on to them")                        \
	X(ClusterInterface, name, 1, CONFIG_INTERFACE_SIZE - 1, cluster_interface, "", "INTERFACE",               \
	  "the link between them, by which it is handed on")

#define METRICS_OPTION(X, standard)                                                                       \
	X(MetricsListen, listener, 0, 107, common.metrics_listen, standard, "off|ADDRESS:PORT|unix:PATH", \
	  "where /metrics and the status page are, over HTTP")

/* Of all clients, or of one: a member of struct gateway_config, or of struct config_peer */
#define LIMIT_OPTIONS(X, rate_standard, burst_standard)                                                               \
	X(RateUp, rate, CONFIG_RATE_LOW, CONFIG_RATE_HIGH, limits.up, rate_standard, "off|8K..1T",                    \
	  "bits a second that a client may send; K, M, G, T are powers of 1000")                                      \
	X(RateDown, rate, CONFIG_RATE_LOW, CONFIG_RATE_HIGH, limits.down, rate_standard, "off|8K..1T",                \
	  "bits a second that are sent to a client")                                                                  \
	X(Burst, size_or_auto, CONFIG_BURST_LOW, CONFIG_BURST_HIGH, limits.burst, burst_standard, "auto|1..1G",       \
	  "bytes that pass at once after a pause, where there is a rate; auto: what it gives in 20 ms")               \
	X(Quota, quota, CONFIG_QUOTA_LOW, CONFIG_QUOTA_HIGH, limits.quota, rate_standard,                             \
	  "off|64K..1024T/day|week|month", "bytes that a client may send and receive in a day, week or month of UTC") \
	X(QuotaRate, rate, CONFIG_RATE_LOW, CONFIG_RATE_HIGH, limits.quota_rate, rate_standard, "off|8K..1T",         \
	  "its rate each way once they are used up; off: nothing passes until the next one")

/* [Gateway] of the gateway's file: struct gateway_config */
#define GATEWAY_OPTIONS(X)                                                                                       \
	IDENTITY_OPTIONS(X)                                                                                      \
	X(Address, prefixes, 0, 2, addresses, NULL, "ADDRESS/LENGTH, ...",                                       \
	  "our inner address in each family; the rest of its network is the clients' pool")                      \
	X(ListenPort, port, 1, 65535, listen_port, "5555", "1..65535", "UDP port to listen on")                  \
	X(ListenAddress, addresses, 0, CONFIG_LISTEN_ADDRESSES, listen_addresses, "", "ADDRESS, ...",            \
	  "outer addresses to listen on; unless given all")                                                      \
	X(MTU, number, 576, 65000, mtu, "1420", "576..65000", "largest inner packet; at least 1280 with IPv6")   \
	X(MaxSessions, number, 1, 1 << 20, max_sessions, "65536", "1..1048576", "most clients at once")          \
	X(Workers, number_or_auto, 1, CPU_WORKERS_MAX, workers, "auto", "auto|1..250",                           \
	  "threads that move packets, each for its share of the sessions")                                       \
	X(TunReaders, count_or_auto, 0, CPU_READERS_MAX, tun_readers, "auto", "auto|0..16",                      \
	  "threads that read the TUN interface; 0: the workers do")                                              \
	X(Handshakers, number_or_auto, 1, CPU_HANDSHAKERS_MAX, handshakers, "auto", "auto|1..16",                \
	  "threads that answer handshakes")                                                                      \
	X(RekeyInterval, number, 10, 86400, rekey_interval, "120", "10..86400",                                  \
	  "seconds after which clients renew keys")                                                              \
	X(SessionTimeout, number, 30, 604800, session_timeout, "7200", "30..604800",                             \
	  "seconds of silence after which a session ends")                                                       \
	X(Reset, yes_no, 0, 0, reset, "yes", "yes|no",                                                           \
	  "answer clients whose session is unknown, so that they are back at once after a crash of the gateway") \
	X(WireGuard, yes_no, 0, 0, wireguard, "no", "yes|no",                                                    \
	  "also serve clients that speak WireGuard, on the same port")                                           \
	X(WireGuardPrivateKeyFile, path, 0, 4095, wireguard_key_file, "", "PATH",                                \
	  "file with the private key for these; unless given it is derived from the other one")                  \
	LIMIT_OPTIONS(X, "off", "auto")                                                                          \
	X(QuotaFile, path, 0, 4000, quota_file, "", "PATH",                                                      \
	  "where usage is kept; unless given /var/lib/shardtun/quota-INTERFACE")                                 \
	X(ClientToClient, yes_no, 0, 0, client_to_client, "no", "yes|no", "let clients reach each other")        \
	X(PeersFile, path, 0, 4095, peers_file, "", "PATH", "file with more [Peer] sections, nothing else")      \
	X(PeersDirectory, path, 0, 4095, peers_directory, "", "PATH",                                            \
	  "directory whose *.conf hold more [Peer] sections, read in the order of their names")                  \
	X(PublicEndpoint, endpoint, 0, 0, public_endpoint, "", "HOST:PORT",                                      \
	  "where clients find us: for the files that 'shardtunctl peer add --new' makes")                        \
	X(User, user, 0, 0, user, "auto", "auto|NAME",                                                           \
	  "account to change to after a start as root; auto: 'shardtun', if there is such a user")               \
	ROUTER_OPTIONS(X)                                                                                        \
	CLUSTER_OPTIONS(X)                                                                                       \
	X(DNS, addresses, 0, CONFIG_DNS_SERVERS, dns, "", "ADDRESS, ...", "name servers for the clients")        \
	X(Routes, prefixes, 0, CONFIG_ROUTES, routes, "", "NETWORK, ...",                                        \
	  "networks that clients should reach through us, as far as their AllowedIPs let them")                  \
	METRICS_OPTION(X, "127.0.0.1:9586")                                                                      \
	TUNING_OPTIONS(X)

/* [Peer] of the gateway's file: struct config_peer */
#define PEER_OPTIONS(X)                                                                               \
	X(PublicKey, public_key, 0, 0, public_key, NULL, "KEY", "the client's public key: who it is") \
	X(Name, name, 1, CONFIG_NAME_SIZE - 1, name, "", "NAME", "what we call it in lists and logs") \
	X(PresharedKeyFile, path, 0, 4095, preshared_key_file, "", "PATH",                            \
	  "file with a key that both sides share, as 'shardtun genpsk' prints it")                    \
	X(PresharedKey, secret_key, 0, 0, preshared_key, "", "KEY",                                   \
	  "that key itself instead; then this file must be unreadable for others")                    \
	X(Address, addresses, 0, 2, addresses, "", "ADDRESS, ...",                                    \
	  "inner address kept for this client, in each family; unless given any of the pool")         \
	X(AllowedIPs, prefixes, 0, UINT32_MAX, allowed_ips, "", "NETWORK, ...",                       \
	  "networks behind this client, to be reached through it")                                    \
	X(Protocol, protocol, 0, 0, protocol, "shardtun", "shardtun|wireguard", "what it speaks")     \
	X(Endpoint, peer_endpoint, 0, 0, endpoint, "", "HOST:PORT",                                   \
	  "with WireGuard: where it is, for us to connect to; [IPV6]:PORT")                           \
	X(PersistentKeepalive, number_or_off, 0, 65535, persistent_keepalive, "off", "off|0..65535",  \
	  "with WireGuard: seconds between packets that keep a NAT's mapping alive")                  \
	LIMIT_OPTIONS(X, "", "")

/* [Client] of the client's file: struct client_config */
#define CLIENT_OPTIONS(X)                                                                            \
	IDENTITY_OPTIONS(X)                                                                          \
	X(ListenPort, port, 0, 65535, listen_port, "0", "0..65535", "UDP port to send from; 0: any") \
	X(MTU, number_or_auto, 576, 65000, mtu, "auto", "auto|576..65000",                           \
	  "largest inner packet; auto: what fits the route to the gateway")                          \
	X(RouteTable, table, 1, UINT32_MAX - 1, route_table, "auto", "auto|off|1..4294967294",       \
	  "routing table for AllowedIPs; auto: one that nothing uses; off: leave routes alone")      \
	X(LocalNetworks, yes_no, 0, 0, local_networks, "yes", "yes|no",                              \
	  "reach attached networks directly although AllowedIPs has 0.0.0.0/0 or ::/0")              \
	X(DNS, dns, 0, CONFIG_DNS_SERVERS, dns, "auto", "auto|off|ADDRESS, ...",                     \
	  "name servers to use while connected; auto: the gateway's; off: leave them alone")         \
	X(KillSwitch, yes_no, 0, 0, kill_switch, "no", "yes|no",                                     \
	  "let nothing leave but through the tunnel, also while the gateway is silent")              \
	X(Networks, prefixes, 0, UINT32_MAX, networks, "", "NETWORK, ...",                           \
	  "networks behind us that others reach through the tunnel")                                 \
	X(PostUp, commands, 0, UINT32_MAX, post_up, "", "COMMAND",                                   \
	  "for the shell, once connected; %i is the interface; repeatable")                          \
	X(PostDown, commands, 0, UINT32_MAX, post_down, "", "COMMAND", "the same, at the end")       \
	METRICS_OPTION(X, "off")                                                                     \
	TUNING_OPTIONS(X)

/* [Gateway] of the client's file: struct client_config */
#define REMOTE_OPTIONS(X)                                                                                     \
	X(PublicKey, public_key, 0, 0, gateway.public_key, NULL, "KEY", "the gateway's public key")           \
	X(PresharedKeyFile, path, 0, 4095, gateway.preshared_key_file, "", "PATH",                            \
	  "file with the key that the gateway has for us")                                                    \
	X(PresharedKey, secret_key, 0, 0, gateway.preshared_key, "", "KEY",                                   \
	  "that key itself instead; then this file must be unreadable for others")                            \
	X(Endpoint, endpoint, 0, 0, gateway.endpoint, NULL, "HOST:PORT", "where the gateway is; [IPV6]:PORT") \
	X(AllowedIPs, prefixes, 0, UINT32_MAX, gateway.allowed_ips, NULL, "NETWORK, ...",                     \
	  "networks to reach through the gateway; 0.0.0.0/0, ::/0: all")                                      \
	X(PersistentKeepalive, number_or_off, 0, 65535, gateway.persistent_keepalive, "off", "off|0..65535",  \
	  "seconds between packets that keep a NAT's mapping alive; 25 suits most")

/* [Interface] of a WireGuard server's file, wg(8) and wg-quick(8): struct wireguard_server. Read only to be imported.
 */
#define INTERFACE_OPTIONS(X)                                                           \
	X(PrivateKey, secret_key, 0, 0, private_key, NULL, "KEY", "")                  \
	X(Address, prefixes, 0, 2, gateway.addresses, NULL, "ADDRESS/LENGTH, ...", "") \
	X(ListenPort, port, 0, 65535, gateway.listen_port, "0", "0..65535", "")        \
	X(MTU, number, 576, 65000, gateway.mtu, "1420", "576..65000", "")              \
	X(FwMark, texts, 0, UINT32_MAX, fwmark, "", "MARK", "")                        \
	X(Table, texts, 0, UINT32_MAX, table, "", "TABLE", "")                         \
	X(DNS, texts, 0, UINT32_MAX, dns, "", "ADDRESS, ...", "")                      \
	X(SaveConfig, texts, 0, UINT32_MAX, save_config, "", "true|false", "")         \
	X(PreUp, texts, 0, UINT32_MAX, pre_up, "", "COMMAND", "")                      \
	X(PostUp, texts, 0, UINT32_MAX, post_up, "", "COMMAND", "")                    \
	X(PreDown, texts, 0, UINT32_MAX, pre_down, "", "COMMAND", "")                  \
	X(PostDown, texts, 0, UINT32_MAX, post_down, "", "COMMAND", "")

/* [Peer] there: struct config_peer */
#define WIREGUARD_PEER_OPTIONS(X)                                                   \
	X(PublicKey, public_key, 0, 0, public_key, NULL, "KEY", "")                 \
	X(PresharedKey, secret_key, 0, 0, preshared_key, "", "KEY", "")             \
	X(AllowedIPs, prefixes, 0, UINT32_MAX, allowed_ips, "", "NETWORK, ...", "") \
	X(Endpoint, peer_endpoint, 0, 0, endpoint, "", "HOST:PORT", "")             \
	X(PersistentKeepalive, number_or_off, 0, 65535, persistent_keepalive, "off", "off|0..65535", "")

/* One row of a table. */
struct option_row {
	const char *name;
	const struct value_type *type;
	uint64_t low, high;
	size_t offset; /* of the member */
	const char *default_text;
	const char *form;
	const char *help;
};

struct option_table {
	const char *section; /* its name in the file */
	const struct option_row *rows;
	size_t count;
};

enum { OPTIONS_PER_SECTION = 48 /* at most; checked at compile time */ };

/* Indexed by enum config_section. */
extern const struct option_table option_tables[];

/* The row of that name, in any case; NULL when there is none. */
const struct option_row *option_find(const struct option_table *table, const char *name);
