// SPDX-License-Identifier: Apache-2.0
#include "tun/nftables.h"

#include <linux/netlink.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

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

static bool is_absent(int code)
{
	return code == -EOPNOTSUPP || code == -EPROTONOSUPPORT || code == -EAFNOSUPPORT;
}

/* libnftables ends the process when it gets no socket of this kind. */
static int probe(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int set_error(struct error *error, const char *subject, int code, const char *message)
{
	if (is_absent(code))
		return error_set(error, code,
				 "%s: this kernel has no nf_tables; load it (modprobe nf_tables), or do without %s",
				 subject, subject);
	if (code == -EPERM)
		return error_set(error, code, "%s: nftables: %s; run as root or with CAP_NET_ADMIN", subject, message);
	return error_set(error, code, "%s: nftables: %s", subject, message);
}

int nftables_run(const char *subject, const char *commands, struct error *error)
{
	int result = probe();
	if (result != 0)
		return set_error(error, subject, result, strerror(-result));
	struct nft_ctx *context = nft_ctx_new(NFT_CTX_DEFAULT);
	if (context == NULL)
		return error_set(error, -ENOMEM, "%s: nftables: out of memory", subject);
	if (nft_ctx_buffer_error(context) != 0) {
		result = error_set(error, -ENOMEM, "%s: nftables: out of memory", subject);
	} else {
		errno = 0;
		if (nft_run_cmd_from_buffer(context, commands) != 0) {
			int code = errno != 0 ? -errno : -EINVAL;
			char line[256];
			result = set_error(error, subject, code, first_line(nft_ctx_get_error_buffer(context), line));
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
	return is_absent(result) ? 0 : result;
}
