// SPDX-License-Identifier: Apache-2.0
/* Names of nftables tables. */
#pragma once

enum { NFTABLES_NAME_MAX = 64 };

/* A name may be used once in each family. */
enum nftables_family { NFTABLES_INET, NFTABLES_NETDEV };

/* The name of an interface's table: "shardtun-" and the interface's name, in which "_XX" stands, in hexadecimal, for
 * what nft does not take in a name. */
void nftables_table_name(const char *interface, char name[NFTABLES_NAME_MAX]);

/* The same with "shardtun2-": the table of a process that lays its rules while another one's are in force still. */
void nftables_second_name(const char *interface, char name[NFTABLES_NAME_MAX]);
