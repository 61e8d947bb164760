// SPDX-License-Identifier: Apache-2.0
#include "core/table.h"

#include <errno.h>
#include <stdlib.h>

enum { TABLE_MAX = 1 << 24 };

int session_table_init(struct session_table *table, uint32_t capacity, uint32_t random_start)
{
	uint32_t slots = 1;
	while (slots < capacity && slots < TABLE_MAX)
		slots *= 2;
	*table = (struct session_table){.mask = slots - 1, .generation = random_start};
	table->slots = calloc(slots, sizeof *table->slots);
	return table->slots != NULL ? 0 : -ENOMEM;
}

void session_table_deinit(struct session_table *table)
{
	free(table->slots);
	table->slots = NULL;
}

uint32_t session_table_new_id(struct session_table *table)
{
	for (uint32_t tried = 0; tried <= table->mask; tried++) {
		uint32_t slot = table->cursor++ & table->mask;
		if (table->slots[slot] != NULL)
			continue;
		uint32_t id;
		do
			id = table->generation++ * (table->mask + 1) | slot;
		while (id == 0);
		return id;
	}
	return 0;
}

void session_table_insert(struct session_table *table, struct session *session)
{
	table->slots[session->id & table->mask] = session;
	table->count++;
}

void session_table_remove(struct session_table *table, struct session *session)
{
	table->slots[session->id & table->mask] = NULL;
	table->count--;
}
