// SPDX-License-Identifier: Apache-2.0
#include "core/cli/peer_files.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { GROUP_MODE = 0640, LIST_LINE_MAX = 120 /* characters */, RANDOM_LENGTH = 18 };

/* --- texts -------------------------------------------------------------------------------------------------------- */

/* Not stdio, which keeps copies of secrets. */
struct buffer {
	char *start;
	size_t length;
	bool full;
};

static void PRINTF_LIKE(2, 3) append(struct buffer *to, const char *format, ...)
{
	size_t room = PEER_FILE_MAX - to->length;
	va_list args;
	va_start(args, format);
	int length = vsnprintf(to->start + to->length, room, format, args);
	va_end(args);
	if (length < 0 || (size_t)length >= room)
		to->full = true;
	else
		to->length += (size_t)length;
}

static void append_option(struct buffer *to, const char *key, const char *value)
{
	if (value != NULL)
		append(to, "%s = %s\n", key, value);
}

/* A long list is split into several lines, each with the key. */
static void append_list(struct buffer *to, const char *key, const char *list)
{
	size_t line = 0;
	for (const char *item = list; item != NULL && *item != '\0';) {
		int length = (int)strcspn(item, ",");
		if (line != 0 && line + (size_t)length > LIST_LINE_MAX) {
			append(to, "\n");
			line = 0;
		}
		append(to, "%s%s%.*s", line == 0 ? key : "", line == 0 ? " = " : ", ", length, item);
		line += (size_t)length + 2;
		item += length;
		item += *item == ',';
	}
	if (line != 0)
		append(to, "\n");
}

static int finish(const struct buffer *to, struct error *error)
{
	return to->full ? error_set(error, -E2BIG, "the file would be longer than %d bytes", PEER_FILE_MAX) : 0;
}

int peer_file_format(const struct peer_file *peer, char text[PEER_FILE_MAX], struct error *error)
{
	struct buffer to = {.start = text};
	append(&to, "[Peer]\n");
	append_option(&to, "Name", peer->name);
	append_option(&to, "PublicKey", peer->public_key);
	append_option(&to, "Protocol", peer->protocol);
	append_option(&to, "PresharedKey", peer->preshared_key);
	append_option(&to, "PresharedKeyFile", peer->preshared_key_file);
	append_option(&to, "Address", peer->address);
	append_list(&to, "AllowedIPs", peer->allowed_ips);
	append_option(&to, "RateUp", peer->rate_up);
	append_option(&to, "RateDown", peer->rate_down);
	append_option(&to, "Burst", peer->burst);
	append_option(&to, "Quota", peer->quota);
	append_option(&to, "QuotaRate", peer->quota_rate);
	return finish(&to, error);
}

int client_file_format(const struct client_file *client, char text[PEER_FILE_MAX], struct error *error)
{
	struct buffer to = {.start = text};
	append(&to, "# shardtun: %s\n[Client]\n", client->name);
	append_option(&to, "PrivateKey", client->private_key);
	append(&to, "\n[Gateway]\n");
	append_option(&to, "PublicKey", client->gateway_public_key);
	append_option(&to, "PresharedKey", client->preshared_key);
	append_option(&to, "Endpoint", client->endpoint);
	append_list(&to, "AllowedIPs", client->allowed_ips);
	return finish(&to, error);
}

/* 25 s is less than NATs forget a mapping in. */
int wireguard_file_format(const struct wireguard_file *file, char text[PEER_FILE_MAX], struct error *error)
{
	const struct client_file *client = &file->client;
	struct buffer to = {.start = text};
	append(&to, "# shardtun: %s\n[Interface]\n", client->name);
	append_option(&to, "PrivateKey", client->private_key);
	append_list(&to, "Address", file->addresses);
	append_list(&to, "DNS", file->dns);
	append(&to, "MTU = %u\n\n[Peer]\n", file->mtu);
	append_option(&to, "PublicKey", client->gateway_public_key);
	append_option(&to, "PresharedKey", client->preshared_key);
	append_list(&to, "AllowedIPs", client->allowed_ips);
	append_option(&to, "Endpoint", client->endpoint);
	append_option(&to, "PersistentKeepalive", file->keepalive ? "25" : NULL);
	return finish(&to, error);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static int write_all(int fd, const char *text)
{
	size_t size = strlen(text);
	for (size_t done = 0; done < size;) {
		ssize_t written = write(fd, text + done, size - done);
		if (written < 0 && errno != EINTR)
			return -errno;
		done += written > 0 ? (size_t)written : 0;
	}
	return 0;
}

/* fchown() fails with EPERM for users other than root, and is not needed where the directory has their own group. */
static int fill(int directory, int fd, const struct secret_file *file)
{
	struct stat status;
	if (fstat(directory, &status) != 0 || (fchown(fd, (uid_t)-1, status.st_gid) != 0 && errno != EPERM) ||
	    fchmod(fd, (status.st_mode & S_ISGID) != 0 ? GROUP_MODE : file->mode) != 0)
		return -errno;
	int result = write_all(fd, file->text);
	if (result == 0 && fsync(fd) != 0)
		result = -errno;
	return result;
}

/* Writes a hidden file, which the daemon ignores, and gives it its name once it is on the disk. link(2), unlike
 * rename(2), fails if the name exists. Uses the directory's descriptor: its path may be replaced meanwhile. */
static int write_and_name(int directory, const char *temporary, const struct secret_file *file)
{
	int fd = openat(directory, temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	int result = fill(directory, fd, file);
	if (result == 0 && (file->replace ? renameat(directory, temporary, directory, file->name)
					  : linkat(directory, temporary, directory, file->name, 0)) != 0)
		result = -errno;
	close(fd);
	(void)unlinkat(directory, temporary, 0);
	if (result == 0 && fsync(directory) != 0)
		result = -errno;
	return result;
}

int secret_file_save(const struct secret_file *file, char path[PEER_PATH_MAX], struct error *error)
{
	char temporary[NAME_MAX + 1];
	uint64_t random;
	if ((size_t)snprintf(path, PEER_PATH_MAX, "%s/%s", file->directory, file->name) >= PEER_PATH_MAX ||
	    strlen(file->name) >= sizeof temporary - RANDOM_LENGTH)
		return error_set(error, -ENAMETOOLONG, "%.200s/%s: the path is too long", file->directory, file->name);
	if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
		return error_set(error, -errno, "%s: no random number (%s)", path, strerror(errno));
	(void)snprintf(temporary, sizeof temporary, ".%s.%016" PRIx64, file->name, random);
	int fd = open(file->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int result = fd >= 0 ? write_and_name(fd, temporary, file) : -errno;
	if (fd >= 0)
		close(fd);
	if (result == -EEXIST)
		return error_set(error, result, "%s: is there already; %s", path, file->or_else);
	return result == 0 ? 0 : error_set(error, result, "%s: cannot be written (%s)", path, strerror(-result));
}

int peer_file_save(const char *directory, const char *name, const char *text, char path[PEER_PATH_MAX],
		   struct error *error)
{
	char file_name[NAME_MAX + 1];
	const struct secret_file file = {.directory = directory,
					 .name = file_name,
					 .text = text,
					 .mode = GROUP_MODE,
					 .or_else = "choose another name"};
	(void)snprintf(file_name, sizeof file_name, "%.200s.conf", name);
	return secret_file_save(&file, path, error);
}
