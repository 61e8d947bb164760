// SPDX-License-Identifier: Apache-2.0
/* Any resolv.conf: reading ends, ours is known as ours, names our servers first, and gives
 * back what was there before, byte for byte. */
#include "core/client/resolv_conf.h"

#include "tests/fuzz/input.h"

static const struct ip_address servers[] = {{4, {10, 8, 0, 1}}, {6, {0xfd, [15] = 1}}};

static void look_at(const struct resolv_conf_text *text)
{
	struct resolv_conf_servers found;
	struct error error = {0};
	resolv_conf_read(text, &found);
	insist(found.count <= RESOLV_CONF_SERVERS_MAX, "no more servers than there is room for");
	for (size_t i = 0; i < found.count; i++)
		(void)resolv_conf_is_loopback(&found.list[i]);
	int owner = resolv_conf_owner(text, "shardtun0", &error);
	insist(owner == 0 || owner == 1 || (owner == -EEXIST && error.text[0] != '\0'),
	       "it is ours, another's of ours, or nobody's");
	(void)resolv_conf_is_in_place(text);
}

static void replace(const struct resolv_conf_text *former, bool everything, const char *saved)
{
	struct resolv_conf_wish wish = {
		.interface = "shardtun0", .servers = servers, .count = ARRAY_SIZE(servers), .everything = everything};
	struct resolv_conf_text ours, back;
	struct resolv_conf_servers found;
	insist(resolv_conf_write(&wish, former, saved, &ours) == 0, "memory");
	insist(resolv_conf_owner(&ours, "shardtun0", NULL) == 1, "ours is ours");
	insist(resolv_conf_owner(&ours, "shardtun1", NULL) == -EEXIST, "and no other interface's");
	insist(resolv_conf_is_in_place(&ours) == (saved == NULL), "where the former is, is known");
	resolv_conf_read(&ours, &found);
	insist(found.count >= wish.count && memcmp(found.list, servers, sizeof servers) == 0,
	       "our servers are the first");
	insist(!everything || found.count == wish.count, "for everything they are the only ones");
	if (saved == NULL) {
		insist(resolv_conf_former(&ours, &back) == 0, "memory");
		insist(back.length == former->length &&
			       (back.length == 0 || memcmp(back.bytes, former->bytes, back.length) == 0),
		       "the former comes back byte for byte");
		free(back.bytes);
	}
	free(ours.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct resolv_conf_text text = {.bytes = malloc(size + 1), .length = size};
	insist(text.bytes != NULL, "memory");
	memcpy(text.bytes, data, size);
	look_at(&text);
	for (int i = 0; i < 4; i++)
		replace(&text, (i & 1) != 0, (i & 2) != 0 ? "/etc/resolv.conf.shardtun-saved" : NULL);
	free(text.bytes);
	return 0;
}
