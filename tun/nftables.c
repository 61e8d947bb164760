// SPDX-License-Identifier: Apache-2.0
#include "tun/nftables.h"

#include <nftables/libnftables.h>
#include <stdio.h>

enum { COMMAND_MAX = 128 };

/* The first line of what libnftables has to say, without its "Error: ": the others draw the place in the commands. */
static const char *first_line(const char *message, char line[256])
{
	static const char label[] = "Error: ";
	const char *start = strstr(message, label);
	start = start != NULL ? start + strlen(label) : message;
	(void)snprintf(line, 256, "%.*s", (int)strcspn(start, "\n"), start);
	return line;
}

int nftables_run(const char *subject, const char *commands, struct error *error)
{
	struct nft_ctx *context = nft_ctx_new(NFT_CTX_DEFAULT);
	if (context == NULL)
		return error_set(error, -ENOMEM, "%s: nftables: out of memory", subject);
	int result = 0;
	if (nft_ctx_buffer_error(context) != 0) {
		result = error_set(error, -ENOMEM, "%s: nftables: out of memory", subject);
	} else {
		errno = 0;
		if (nft_run_cmd_from_buffer(context, commands) != 0) {
			int code = errno != 0 ? -errno : -EINVAL;
			char line[256];
			result = error_set(error, code, "%s: nftables: %s", subject,
					   first_line(nft_ctx_get_error_buffer(context), line));
		}
	}
	nft_ctx_free(context);
	return result;
}

int nftables_delete_table(const char *subject, const char *family, const char *name, struct error *error)
{
	/* "add" makes one that is not there, so that "delete" finds one: nft(8) has no "delete if it exists" before
	 * version 1.0.8. */
	char commands[COMMAND_MAX];
	(void)snprintf(commands, sizeof commands, "add table %s %s\ndelete table %s %s\n", family, name, family, name);
	int result = nftables_run(subject, commands, error);
	return result == -EOPNOTSUPP || result == -EPROTONOSUPPORT || result == -EAFNOSUPPORT ? 0 : result;
}
