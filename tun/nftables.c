// SPDX-License-Identifier: Apache-2.0
#include "tun/nftables.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
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

/* What libnftables said, from the process that asked it. */
struct answer {
	int code; /* 0 or a negative errno */
	char text[256];
};

static bool is_absent(int code)
{
	return code == -EOPNOTSUPP || code == -EPROTONOSUPPORT || code == -EAFNOSUPPORT;
}

/* libnftables ends the process when it gets no socket of this kind, without a reason. */
static int probe(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static void refuse(struct answer *answer, int code, const char *text)
{
	answer->code = code;
	(void)snprintf(answer->text, sizeof answer->text, "%s", text);
}

static void run(const char *commands, struct answer *answer)
{
	answer->code = probe();
	if (answer->code != 0)
		return refuse(answer, answer->code, strerror(-answer->code));
	struct nft_ctx *context = nft_ctx_new(NFT_CTX_DEFAULT);
	if (context == NULL || nft_ctx_buffer_error(context) != 0)
		return refuse(answer, -ENOMEM, "out of memory");
	errno = 0;
	if (nft_run_cmd_from_buffer(context, commands) != 0) {
		char line[256];
		int code = errno != 0 ? -errno : -EINVAL;
		refuse(answer, code, first_line(nft_ctx_get_error_buffer(context), line));
	}
}

static int fail(struct error *error, const char *subject, const struct answer *answer)
{
	if (is_absent(answer->code))
		return error_set(error, answer->code,
				 "%s: this kernel has no nf_tables; load it (modprobe nf_tables), or do without %s",
				 subject, subject);
	if (answer->code == -EPERM)
		return error_set(error, answer->code, "%s: nftables: %s; run as root or with CAP_NET_ADMIN", subject,
				 answer->text);
	return error_set(error, answer->code, "%s: nftables: %s", subject, answer->text);
}

/* In a process of its own, because libnftables calls exit() when it is short of something. */
int nftables_run(const char *subject, const char *commands, struct error *error)
{
	struct answer answer = {0};
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) != 0)
		return error_set(error, -errno, "%s: nftables: pipe: %s", subject, strerror(errno));
	pid_t pid = fork();
	if (pid == 0) {
		close(STDERR_FILENO); /* it would write there what it ends for */
		run(commands, &answer);
		ssize_t written = write(ends[1], &answer, sizeof answer);
		_exit(written == sizeof answer ? 0 : 1);
	}
	int failure = errno;
	close(ends[1]);
	ssize_t got = -1;
	if (pid > 0) {
		do
			got = read(ends[0], &answer, sizeof answer); /* a pipe takes it in one piece */
		while (got < 0 && errno == EINTR);
		(void)waitpid(pid, NULL, 0);
	}
	close(ends[0]);
	if (pid < 0)
		return error_set(error, -failure, "%s: nftables: fork: %s", subject, strerror(failure));
	if (got != sizeof answer)
		return error_set(error, -ENOMEM, "%s: nftables: it ended early, short of memory or of sockets",
				 subject);
	return answer.code == 0 ? 0 : fail(error, subject, &answer);
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
