// SPDX-License-Identifier: Apache-2.0
#include "core/app/client_dns.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/app/command.h"

#define RESOLV_CONF "/etc/resolv.conf"
#define SAVED	    RESOLV_CONF ".shardtun-saved" /* beside it: it outlives a reboot, and can be renamed back */
#define PREPARED    RESOLV_CONF ".shardtun-new"
#define MARK	    "# Written by shardtun for "

enum {
	TOOL_SECONDS = 10,
	ARGUMENTS = 16,
	RECORD_MAX = 32,
	TEXT_MAX = 16384, /* of a resolv.conf that is kept */
};

const char *client_dns_way_text(enum client_dns_way way)
{
	static const char *const texts[] = {
		[CLIENT_DNS_RESOLVED] = "resolvectl",
		[CLIENT_DNS_RESOLVCONF] = "resolvconf",
		[CLIENT_DNS_FILE] = RESOLV_CONF,
	};
	return (size_t)way < ARRAY_SIZE(texts) ? texts[way] : NULL;
}

/* --- systemd-resolved --------------------------------------------------------------------------------------------- */

static bool resolved_runs(void)
{
	static const char *const argv[] = {"resolvectl", "status", NULL};
	return command_exists("resolvectl") && command_run(argv, NULL, TOOL_SECONDS, NULL) == 0;
}

static int resolved_set(const struct client_dns_wish *wish, struct error *error)
{
	char texts[ARGUMENTS][IP_TEXT_MAX];
	const char *servers[ARGUMENTS + 4] = {"resolvectl", "dns", wish->interface};
	for (size_t i = 0; i < wish->count && i < ARGUMENTS; i++)
		servers[3 + i] = ip_address_format(&wish->servers[i], texts[i]);
	const char *domain[] = {"resolvectl", "domain", wish->interface, wish->everything ? "~." : "", NULL};
	int result = command_run(servers, NULL, TOOL_SECONDS, error);
	if (result == 0)
		result = command_run(domain, NULL, TOOL_SECONDS, error);
	return result;
}

static int resolved_revert(const char *interface, struct error *error)
{
	const char *argv[] = {"resolvectl", "revert", interface, NULL};
	return command_run(argv, NULL, TOOL_SECONDS, error);
}

/* --- resolvconf --------------------------------------------------------------------------------------------------- */

/* Both programs of that name put "tun..." before the records of other links. */
static const char *record_name(const char *interface, char name[RECORD_MAX])
{
	(void)snprintf(name, RECORD_MAX, "tun.%s", interface);
	return name;
}

static void print_servers(FILE *out, const struct client_dns_wish *wish)
{
	char text[IP_TEXT_MAX];
	for (size_t i = 0; i < wish->count; i++)
		(void)fprintf(out, "nameserver %s\n", ip_address_format(&wish->servers[i], text));
}

static int resolvconf_set(const struct client_dns_wish *wish, struct error *error)
{
	char name[RECORD_MAX], *input = NULL;
	size_t size;
	FILE *out = open_memstream(&input, &size);
	if (out == NULL)
		return error_set(error, -ENOMEM, "resolvconf: out of memory");
	print_servers(out, wish);
	if (fclose(out) != 0)
		return error_set(error, -ENOMEM, "resolvconf: out of memory");
	/* -x: nobody else's servers; -m 0: first. Debian's own resolvconf knows neither and does not mind. */
	const char *argv[] = {"resolvconf", "-a", record_name(wish->interface, name),
			      "-m",	    "0",  wish->everything ? "-x" : NULL,
			      NULL};
	int result = command_run(argv, input, TOOL_SECONDS, error);
	free(input);
	return result;
}

static int resolvconf_delete(const char *interface, struct error *error)
{
	char name[RECORD_MAX];
	const char *argv[] = {"resolvconf", "-d", record_name(interface, name), "-f", NULL};
	return command_run(argv, NULL, TOOL_SECONDS, error);
}

/* --- /etc/resolv.conf --------------------------------------------------------------------------------------------- */

/* Puts what the file says into `text`; "" when there is none. */
static int read_text(const char *path, char text[TEXT_MAX], struct error *error)
{
	text[0] = '\0';
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : error_set(error, -errno, "%s: %s", path, strerror(errno));
	ssize_t got = read(fd, text, TEXT_MAX - 1);
	int failure = errno;
	close(fd);
	if (got < 0)
		return error_set(error, -failure, "%s: %s", path, strerror(failure));
	text[got] = '\0';
	return 0;
}

/* Whose it is: 1 ours, 0 somebody else's, -EEXIST that of another tunnel. */
static int whose(const char *text, const char *interface, struct error *error)
{
	if (strncmp(text, MARK, sizeof MARK - 1) != 0)
		return 0;
	const char *name = text + sizeof MARK - 1;
	int length = (int)strcspn(name, ";\n");
	if ((size_t)length == strlen(interface) && strncmp(name, interface, (size_t)length) == 0)
		return 1;
	return error_set(error, -EEXIST,
			 RESOLV_CONF ": interface %.*s has it; 'shardtun down' that one, or set DNS = off", length,
			 name);
}

static int prepare_file(const struct client_dns_wish *wish, const char *before, struct error *error)
{
	FILE *out = fopen(PREPARED, "we");
	if (out == NULL)
		return error_set(error, -errno, PREPARED ": %s; set DNS = off to go without", strerror(errno));
	(void)fprintf(out, MARK "%s; what was there before is in " SAVED "\n", wish->interface);
	print_servers(out, wish);
	if (!wish->everything)
		(void)fputs(before, out);
	bool bad = ferror(out) != 0 || fchmod(fileno(out), 0644) != 0;
	if (fclose(out) != 0 || bad) {
		int code = errno != 0 ? -errno : -EIO;
		unlink(PREPARED);
		return error_set(error, code, PREPARED ": cannot be written (%s)", strerror(-code));
	}
	return 0;
}

static int file_restore(const char *interface, struct error *error)
{
	char text[TEXT_MAX];
	(void)unlink(PREPARED);
	int result = read_text(RESOLV_CONF, text, error);
	int mine = result == 0 ? whose(text, interface, NULL) : result;
	if (mine < 0)
		return mine == -EEXIST ? 0 : mine;
	if (mine == 0) {
		/* We never came to replace it, or somebody did so since, who knows better what is right now. */
		(void)unlink(SAVED);
		return 0;
	}
	if (rename(SAVED, RESOLV_CONF) == 0 || (errno == ENOENT && unlink(RESOLV_CONF) == 0))
		return 0;
	return error_set(error, -errno, RESOLV_CONF ": cannot be restored from " SAVED " (%s)", strerror(errno));
}

/* At any moment either file is whole: the old one gets a second name (of a symbolic link the link itself), then the new
 * one takes its first. -errno. */
static int swap_files(bool keep_saved)
{
	if (!keep_saved) {
		(void)unlink(SAVED);
		if (linkat(AT_FDCWD, RESOLV_CONF, AT_FDCWD, SAVED, 0) != 0 && errno != ENOENT)
			return -errno;
	}
	if (rename(PREPARED, RESOLV_CONF) == 0)
		return 0;
	int code = -errno;
	if (!keep_saved)
		(void)unlink(SAVED);
	return code;
}

static int file_set(const struct client_dns_wish *wish, struct error *error)
{
	char before[TEXT_MAX];
	int result = read_text(RESOLV_CONF, before, error);
	int mine = result == 0 ? whose(before, wish->interface, error) : result;
	if (mine < 0)
		return mine;
	if (mine == 1 && (result = read_text(SAVED, before, error)) != 0)
		return result;
	result = prepare_file(wish, before, error);
	if (result != 0)
		return result;
	result = swap_files(mine == 1);
	if (result == 0)
		return 0;
	(void)unlink(PREPARED);
	return error_set(error, result, RESOLV_CONF ": cannot be replaced (%s); set DNS = off to go without",
			 strerror(-result));
}

/* --- whichever ---------------------------------------------------------------------------------------------------- */

enum client_dns_way client_dns_choose(void)
{
	if (resolved_runs())
		return CLIENT_DNS_RESOLVED;
	return command_exists("resolvconf") ? CLIENT_DNS_RESOLVCONF : CLIENT_DNS_FILE;
}

int client_dns_set(enum client_dns_way way, const struct client_dns_wish *wish, struct error *error)
{
	int result = 0;
	switch (way) {
	case CLIENT_DNS_NONE:
		return 0;
	case CLIENT_DNS_RESOLVED:
		result = resolved_set(wish, error);
		break;
	case CLIENT_DNS_RESOLVCONF:
		result = resolvconf_set(wish, error);
		break;
	case CLIENT_DNS_FILE:
		return file_set(wish, error);
	}
	if (result != 0)
		(void)client_dns_restore(way, wish->interface, NULL);
	return result;
}

int client_dns_restore(enum client_dns_way way, const char *interface, struct error *error)
{
	switch (way) {
	case CLIENT_DNS_NONE:
		break;
	case CLIENT_DNS_RESOLVED:
		return resolved_revert(interface, error);
	case CLIENT_DNS_RESOLVCONF:
		return resolvconf_delete(interface, error);
	case CLIENT_DNS_FILE:
		return file_restore(interface, error);
	}
	return 0;
}
