// SPDX-License-Identifier: Apache-2.0
/* The client's journal, damaged in any way: parsing it ends, never yields one of the kernel's own tables, and what was
 * parsed parses the same when it is written again. */
#include <linux/rtnetlink.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/client/journal.h"
#include "tests/fuzz/input.h"

enum { PORT = 5555 };

static bool same(const struct applied *a, const struct applied *b)
{
	return a->route_table == b->route_table && a->route_rank == b->route_rank && a->kill_switch == b->kill_switch &&
	       a->firewall == b->firewall && a->post_up == b->post_up && a->dns == b->dns &&
	       a->endpoints.count == b->endpoints.count &&
	       memcmp(a->endpoints.addresses, b->endpoints.addresses,
		      a->endpoints.count * sizeof a->endpoints.addresses[0]) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct client_config config = {.common.interface = "shardtun0"};
	struct journal journal = {.config = &config, .fd = memfd_create("journal", MFD_CLOEXEC), .path = (char[]){""}};
	struct applied again;
	insist(journal.fd >= 0 && write(journal.fd, data, size) == (ssize_t)size, "a file in memory");
	journal_parse(journal.fd, PORT, &journal.applied);
	uint32_t table = journal.applied.route_table;
	insist(table != RT_TABLE_DEFAULT && table != RT_TABLE_MAIN && table != RT_TABLE_LOCAL,
	       "no table of the kernel's");
	insist(journal.applied.endpoints.count <= RESOLVER_ADDRESSES_MAX, "endpoints fit");
	insist(journal_write(&journal, NULL) == 0, "it can be written");
	journal_parse(journal.fd, PORT, &again);
	insist(same(&journal.applied, &again), "it reads as it was written");
	close(journal.fd);
	return 0;
}
