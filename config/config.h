// SPDX-License-Identifier: Apache-2.0
/* The configuration files of gateway and client as plain structs: every option holds its value or its default.
 *
 * Strict: an unknown section or key, a key given twice, a missing one, a bad value or an overlap is -EINVAL with
 * "FILE:LINE: Key = offending text: what is wrong; what is right"; secrets are not quoted. The options themselves stand
 * in config/options.h. Keys are not decoded here and key files not read: that is left to code that may use crypto/. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/base/calendar.h"
#include "core/base/error.h"
#include "core/base/ip.h"
#include "core/base/log.h"
#include "core/host/cpu_priority.h"
#include "core/host/privileges.h"

enum {
	CONFIG_KEY_TEXT_SIZE = 45,  /* 44 characters of base64 and the terminator */
	CONFIG_INTERFACE_SIZE = 16, /* IFNAMSIZ */
	CONFIG_HOST_SIZE = 254,	    /* the longest DNS name and the terminator */
	CONFIG_NAME_SIZE = 64,	    /* of a peer, with the terminator; as a file's name it leaves room for an ending */
	CONFIG_USER_SIZE = PRIVILEGES_NAME_SIZE,
	CONFIG_LISTEN_ADDRESSES = 16, /* at most */
	CONFIG_MASQUERADE = 64,	      /* interfaces, at most */
	CONFIG_DNS_SERVERS = 8,	      /* at most: what a WELCOME has room for */
	CONFIG_ROUTES = 48,	      /* the same */
	CONFIG_NODE_SIZE = 33,	      /* of a gateway's name in a cluster, with the terminator */
	CONFIG_BLOCK_LOW = 16,	      /* addresses of a block; as core/cluster/blocks.h has it */
	CONFIG_BLOCK_HIGH = 65536,
	CONFIG_CLUSTER_SESSIONS = 1 << 19, /* at most, of a gateway in a cluster: the same */
	CONFIG_AUTO = -1,		   /* where 0 is a number that can be asked for */
};

/* A routing table that nothing uses. */
#define CONFIG_TABLE_AUTO UINT32_MAX

/* A rate that is not limited, where 0 is one that is not set. */
#define CONFIG_RATE_OFF UINT32_MAX

/* What rates and bursts may be: bits a second, and bytes. */
#define CONFIG_RATE_LOW	  8000
#define CONFIG_RATE_HIGH  1000000000000
#define CONFIG_BURST_LOW  1
#define CONFIG_BURST_HIGH (1 << 30)

/* What quotas may be, bytes in a period: more than the longest packet has. */
#define CONFIG_QUOTA_LOW  (1 << 16)
#define CONFIG_QUOTA_HIGH (1ull << 50)

/* A quota that is none, where 0 is one that is not set. */
#define CONFIG_QUOTA_OFF UINT64_MAX

/* A set of suites; auto is all of them. */
enum config_cipher {
	CONFIG_CIPHER_AES_256_GCM = 1 << 0,
	CONFIG_CIPHER_CHACHA20_POLY1305 = 1 << 1,
	CONFIG_CIPHER_ANY = CONFIG_CIPHER_AES_256_GCM | CONFIG_CIPHER_CHACHA20_POLY1305,
};

/* A set of offloads not to use even where they work. */
enum config_offload {
	CONFIG_OFFLOAD_TUN_CHECKSUM = 1 << 0,
	CONFIG_OFFLOAD_TUN_TSO = 1 << 1,
	CONFIG_OFFLOAD_TUN_USO = 1 << 2,
	CONFIG_OFFLOAD_UDP_GSO = 1 << 3,
	CONFIG_OFFLOAD_UDP_GRO = 1 << 4,
};

struct config_addresses {
	struct ip_address *items; /* NULL when there are none */
	unsigned *lines;	  /* where in the file each one stands */
	size_t count;
};

struct config_prefixes {
	struct ip_prefix *items; /* NULL when there are none */
	unsigned *lines;	 /* where in the file each one stands */
	size_t count;
};

struct config_interfaces {
	char (*items)[CONFIG_INTERFACE_SIZE]; /* NULL when there are none */
	unsigned *lines;		      /* where in the file each one stands */
	size_t count;
};

/* Where the client's names are resolved. */
struct config_dns {
	bool automatic;			 /* by the servers that the gateway names */
	bool off;			 /* as ever */
	struct config_addresses servers; /* by these; none when one of the above is true */
};

/* Commands for the shell, in the file's order. */
struct config_commands {
	char **items; /* NULL when there are none */
	size_t count;
};

/* Values as they are written, in the file's order. */
struct config_texts {
	char **items;	 /* NULL when there are none */
	unsigned *lines; /* where in the file each one stands */
	size_t count;
};

struct config_endpoint {
	char host[CONFIG_HOST_SIZE]; /* an address without brackets, or a name to resolve */
	uint16_t port;		     /* host order, never 0 */
};

/* What a peer speaks, for good: a key is for one set of algorithms. */
enum config_protocol {
	CONFIG_PROTOCOL_SHARDTUN,
	CONFIG_PROTOCOL_WIREGUARD,
};

/* Where a server of ours listens: `path` or `address`, or neither: nowhere. */
struct config_listener {
	char *path; /* of a Unix socket; fits sun_path */
	struct ip_address address;
	uint16_t port; /* host order, never 0 */
};

/* Options that gateway and client share. Paths are ready for open(2). */
struct config_common {
	char *private_key_file; /* NULL: private_key has it */
	char *private_key;	/* base64, in memory that is wiped when it is freed; NULL: the file has it */
	char interface[CONFIG_INTERFACE_SIZE];
	enum config_cipher cipher;
	const char *crypto_backend; /* as aead_engine_new() takes it; static text */
	uint32_t disabled_offloads; /* enum config_offload */
	uint32_t stage_sampling;    /* one batch in so many is timed; 0 is none */
	char *control_socket;	    /* fits sun_path */
	struct config_listener metrics_listen;
	enum log_level log_level;
	uint32_t udp_buffer; /* bytes, each way */
	enum cpu_priority cpu_priority;
	bool seccomp;
};

/* What a client may send and receive, inner packets; 0: not set, and CONFIG_RATE_OFF: as much as there is. */
struct config_limits {
	uint32_t up, down; /* thousands of bits a second */
	uint32_t burst;	   /* bytes; 0 is auto */
	struct config_quota {
		uint64_t bytes; /* CONFIG_QUOTA_OFF: none */
		enum calendar_period period;
	} quota;
	uint32_t quota_rate; /* as `up`, once the quota is used up; CONFIG_RATE_OFF: nothing passes then */
};

struct config_peer {
	char public_key[CONFIG_KEY_TEXT_SIZE];
	char *name;		  /* NULL when there is none; not unique */
	char *preshared_key_file; /* NULL when there is none, or */
	char *preshared_key;	  /* this is it, as config_common's private_key */
	/* Up to one of each family, inside the gateway's networks, no other peer's. */
	struct config_addresses addresses;
	/* Behind the client: networks without host bits, sorted, each once, none of them another peer's or in touch
	 * with the gateway's. One may lie in that of another peer, which has the rest of it then. */
	struct config_prefixes allowed_ips;
	struct config_limits limits; /* what is not set is the gateway's */
	enum config_protocol protocol;
	/* Of WireGuard peers only. */
	struct config_endpoint *endpoint; /* where the gateway finds it; NULL when there is none */
	uint32_t persistent_keepalive;	  /* seconds; 0 is off */
	const char *file;		  /* where it stands; the configuration's */
	unsigned line, protocol_line;	  /* of its PublicKey, and its Protocol; 0: it has none */
};

struct gateway_config {
	char *file; /* as it was given, for messages */
	struct config_common common;
	/* None is all of the machine's; else none of them is twice, nor all addresses beside others. */
	struct config_addresses listen_addresses;
	uint16_t listen_port;
	/* The gateway's own inner addresses, one of each family at most, host bits kept. */
	struct config_prefixes addresses;
	uint32_t mtu;
	uint32_t max_sessions;	     /* as written: not rounded */
	uint32_t workers;	     /* 1...CPU_WORKERS_MAX; 0 is auto */
	int32_t tun_readers;	     /* 0...CPU_READERS_MAX; 0: workers read; CONFIG_AUTO */
	uint32_t handshakers;	     /* 1...CPU_HANDSHAKERS_MAX; 0 is auto */
	uint32_t rekey_interval;     /* seconds */
	uint32_t session_timeout;    /* seconds */
	struct config_limits limits; /* of each client without its own */
	char *quota_file;	     /* where what they used of their quotas is kept */
	bool client_to_client;
	struct config_addresses dns;   /* for the clients */
	struct config_prefixes routes; /* the same; networks without host bits, sorted, each once */
	bool reset;
	bool wireguard;			    /* peers may speak WireGuard */
	char *wireguard_key_file;	    /* with the private key for them; NULL: it is derived from the other one */
	char user[CONFIG_USER_SIZE];	    /* "auto", or whose name it is: not looked up */
	char *peers_file, *peers_directory; /* NULL when there is none; `peers` has what is in them */
	struct config_endpoint public_endpoint; /* port 0: not set */
	bool hide_addresses;
	bool forward;
	struct config_interfaces masquerade;	   /* each once, none of them the gateway's own; none in a cluster */
	char *cluster_node;			   /* NULL: it is no cluster; else every peer has an address */
	uint32_t cluster_block_size;		   /* a power of two */
	struct config_endpoint cluster_link;	   /* an address, in a cluster only; port 0: not set */
	char *cluster_outside, *cluster_interface; /* both or none, in a cluster only, and not the same */
	struct config_peer *peers; /* in the files' order; first the configuration's own, PeersFile's next */
	size_t peer_count;
	char **peer_files; /* where peers stand, besides `file` */
	size_t peer_file_count;
};

struct client_config {
	char *file; /* as it was given, for messages */
	struct config_common common;
	uint16_t listen_port; /* 0 is any */
	uint32_t mtu;	      /* 0 is auto: the route's less our overhead */
	uint32_t route_table; /* CONFIG_TABLE_AUTO; 0 is off: leave routes alone */
	bool local_networks;  /* attached networks are reached directly even if everything goes to the gateway */
	bool kill_switch;     /* with an interface name that nft(8) takes */
	struct config_dns dns;
	struct config_prefixes networks; /* behind us; without host bits, sorted, each once */
	struct config_commands post_up, post_down;
	struct {
		char public_key[CONFIG_KEY_TEXT_SIZE];
		char *preshared_key_file; /* NULL when there is none, or */
		char *preshared_key;	  /* this is it, as config_common's private_key */
		struct config_endpoint endpoint;
		struct config_prefixes allowed_ips; /* networks without host bits, sorted, each once */
		uint32_t persistent_keepalive;	    /* seconds; 0 is off */
	} gateway;
};

/* Each reads a whole file, once, and yields a struct that the matching free gives back. On failure *config is NULL and
 * `error` says where and why. Relative paths in a file start at the directory of the path as it is given, symbolic
 * links not followed; in what is no regular file, at the working directory. Files that a file names are regular files.
 * Waits for the writer of a pipe: config/ini.h says how that ends. Any thread. */
int config_load_gateway(const char *path, struct gateway_config **config, struct error *error);
int config_load_client(const char *path, struct client_config **config, struct error *error);

/* The same for one that runs: waits for nothing, and takes a regular file only. */
int config_reload_gateway(const char *path, struct gateway_config **config, struct error *error);

/* Both take NULL. */
void config_free_gateway(struct gateway_config *config);
void config_free_client(struct client_config *config);

/* Wipes and frees what a running gateway has in memory of its own: the private key, and the peers, of which a million
 * are some hundred MB. */
void config_forget_keys(struct gateway_config *config);

enum config_section {
	CONFIG_SECTION_GATEWAY, /* [Gateway] of the gateway's file */
	CONFIG_SECTION_PEER,	/* [Peer] there */
	CONFIG_SECTION_CLIENT,	/* [Client] of the client's file */
	CONFIG_SECTION_REMOTE,	/* [Gateway] there */
	/* of a WireGuard server's file (config/wireguard_server.h) */
	CONFIG_SECTION_INTERFACE,
	CONFIG_SECTION_WIREGUARD_PEER,
};

/* Writes the section's header and one line per option, "  Name = FORM  help (default: X)" or "(mandatory)", for --help
 * and for the check that manual and examples know every option. */
void config_print_options(FILE *out, enum config_section section);
