// SPDX-License-Identifier: Apache-2.0
/* The client's note of what is to be taken back, damaged in any way: reading it ends, never names a table of the
 * kernel's own, and what was read is read again when it is written. */
#include <linux/rtnetlink.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/client/journal.h"
#include "tests/fuzz/input.h"

enum { PORT = 5555 };

static bool same(const struct client_deeds *a, const struct client_deeds *b)
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
	struct client_record record = {
		.config = &config, .fd = memfd_create("note", MFD_CLOEXEC), .path = (char[]){""}};
	struct client_deeds again;
	insist(record.fd >= 0 && write(record.fd, data, size) == (ssize_t)size, "a file in memory");
	client_deeds_read(record.fd, PORT, &record.deeds);
	uint32_t table = record.deeds.route_table;
	insist(table != RT_TABLE_DEFAULT && table != RT_TABLE_MAIN && table != RT_TABLE_LOCAL,
	       "no table of the kernel's");
	insist(record.deeds.endpoints.count <= RESOLVER_ADDRESSES_MAX, "endpoints fit");
	insist(client_record_write(&record, NULL) == 0, "it can be written");
	client_deeds_read(record.fd, PORT, &again);
	insist(same(&record.deeds, &again), "it reads as it was written");
	close(record.fd);
	return 0;
}
