// SPDX-License-Identifier: Apache-2.0
#include "core/handover/takeover.h"

#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/handover/word.h"

enum { CLAIM_LOOK_MS = 1 };

enum { HELLO_RELOAD = 1 };

struct hello {
	uint32_t version, records;
	uint64_t device, inode;
	uint64_t flags;
	uint64_t manager;
	char layout[]; /* with its terminator */
};

struct part {
	uint32_t total, count;
	uint64_t watchdog;
	char names[][DESCRIPTOR_NAME_MAX];
};

enum { PART_MAX = CHANNEL_DESCRIPTORS_MAX };
_Static_assert(sizeof(struct part) + PART_MAX * DESCRIPTOR_NAME_MAX <= CHANNEL_BYTES_MAX,
	       "names of a message's descriptors");

static int no_memory(struct error *error)
{
	return error_set(error, -ENOMEM, "take-over: out of memory");
}

/* --- the new process ---------------------------------------------------------------------------------------------- */

static int say_hello(int fd, const struct takeover_party *self, struct channel_message *message, struct error *error)
{
	struct hello *hello = (struct hello *)(void *)message->payload;
	size_t size = strlen(self->layout) + 1;
	if (size > CHANNEL_BYTES_MAX - sizeof *hello)
		return error_set(error, -E2BIG, "take-over: the layout is too long");
	*message = (struct channel_message){.kind = CHANNEL_HELLO, .length = (uint32_t)(sizeof *hello + size)};
	hello->version = TAKEOVER_VERSION;
	hello->records = HANDOVER_VERSION;
	hello->device = self->device;
	hello->inode = self->inode;
	hello->flags = self->reload ? HELLO_RELOAD : 0;
	hello->manager = self->manager;
	memcpy(hello->layout, self->layout, size);
	return channel_send(fd, message, error);
}

/* Puts a part's descriptors behind those that came before. */
static int take_part(struct channel_message *message, struct takeover_given *given, uint32_t *total,
		     struct error *error)
{
	const struct part *part = (const struct part *)(const void *)message->payload;
	struct descriptor_list *list = &given->list;
	bool right = message->length >= sizeof *part && part->count == message->fd_count && part->count <= PART_MAX &&
		     message->length == sizeof *part + part->count * sizeof *part->names && part->total >= 1 &&
		     part->total <= DESCRIPTOR_LIST_MOST && (list->count == 0 || part->total == *total) &&
		     part->count >= 1 && part->count <= part->total - list->count;
	for (uint32_t i = 0; right && i < part->count; i++)
		right = memchr(part->names[i], '\0', DESCRIPTOR_NAME_MAX) != NULL;
	if (!right)
		return error_set(error, -EPROTO, "take-over: descriptors that are not right");
	*total = part->total;
	given->watchdog = part->watchdog;
	uint32_t taken = 0;
	while (taken < part->count && descriptor_list_add(list, part->names[taken], message->fds[taken]) == 0)
		taken++;
	bool all = taken == part->count;
	/* What is left is closed with the message. */
	memmove(message->fds, message->fds + taken, (message->fd_count - taken) * sizeof *message->fds);
	message->fd_count -= taken;
	return all ? 0 : no_memory(error);
}

static int take_parts(int fd, struct channel_message *message, struct takeover_given *given, struct error *error)
{
	uint32_t total = 0;
	int result;
	do {
		result = channel_receive(fd, CHANNEL_DESCRIPTORS, message, TAKEOVER_ANSWER_MS, error);
		if (result == 0)
			result = take_part(message, given, &total, error);
		channel_close_descriptors(message);
	} while (result == 0 && given->list.count < total);
	return result;
}

int takeover_ask(int fd, const struct takeover_party *self, struct takeover_given *given, struct error *error)
{
	struct channel_message *message = malloc(sizeof *message);
	*given = (struct takeover_given){0};
	if (message == NULL)
		return no_memory(error);
	int result = say_hello(fd, self, message, error);
	if (result == 0 || result == -EPIPE) /* refused before that, and the reason may have come */
		result = take_parts(fd, message, given, error);
	free(message);
	if (result != 0)
		descriptor_list_close(&given->list);
	return result;
}

int takeover_await_reload(int fd, int limit_ms, struct error *error)
{
	struct channel_message *message = malloc(sizeof *message);
	if (message == NULL)
		return no_memory(error);
	int result = channel_receive(fd, CHANNEL_RELOADED, message, limit_ms, error);
	channel_close_descriptors(message); /* it has none to give */
	free(message);
	return result;
}

int takeover_receive(int fd, struct handover_memory *memory, int limit_ms, struct error *error)
{
	struct channel_message *message = malloc(sizeof *message);
	if (message == NULL)
		return no_memory(error);
	*message = (struct channel_message){.kind = CHANNEL_READY};
	int result = channel_send(fd, message, error);
	if (result == 0)
		result = channel_receive(fd, CHANNEL_RECORDS, message, limit_ms, error);
	if (result == 0 && message->fd_count != 1) {
		channel_close_descriptors(message);
		result = error_set(error, -EPROTO, "take-over: no records came");
	}
	if (result == 0)
		result = handover_memory_open(memory, message->fds[0], error);
	free(message);
	return result;
}

int takeover_await_offer(int fd, int limit_ms, struct error *error)
{
	struct channel_message *message = malloc(sizeof *message);
	if (message == NULL)
		return no_memory(error);
	*message = (struct channel_message){.kind = CHANNEL_BUILT};
	int result = channel_send(fd, message, error);
	if (result == 0 || result == -EPIPE) /* refused before that, and the reason may have come */
		result = channel_receive(fd, CHANNEL_OFFERED, message, limit_ms, error);
	channel_close_descriptors(message); /* it has none to give */
	free(message);
	return result;
}

bool takeover_was_told(int fd, int limit_ms)
{
	struct channel_message *message = malloc(sizeof *message);
	bool told = message != NULL && channel_receive(fd, CHANNEL_TOLD, message, limit_ms, NULL) == 0;
	if (told)
		channel_close_descriptors(message);
	free(message);
	return told;
}

/* --- the old process ---------------------------------------------------------------------------------------------- */

static bool is_same_program(const struct hello *hello, const struct takeover_party *self)
{
	return hello->inode != 0 && hello->inode == self->inode && hello->device == self->device;
}

static int check_hello(const struct channel_message *message, const struct takeover_party *self, struct error *error)
{
	const struct hello *hello = (const struct hello *)(const void *)message->payload;
	if (message->length < sizeof *hello)
		return error_set(error, -EPROTO, "take-over: a request that is none");
	if (hello->version != TAKEOVER_VERSION)
		return error_set(error, -EPROTONOSUPPORT,
				 "take-over: the new program speaks version %u, this one version %d", hello->version,
				 TAKEOVER_VERSION);
	if (hello->records != HANDOVER_VERSION)
		return error_set(error, -EPROTONOSUPPORT,
				 "take-over: the new program reads records of version %u, this one writes version %d",
				 hello->records, HANDOVER_VERSION);
	if ((hello->flags & HELLO_RELOAD) != 0 && is_same_program(hello, self))
		return error_set(error, -EALREADY, "take-over: the new program is the same");
	if (self->refusal != NULL)
		return error_set(error, (hello->flags & HELLO_RELOAD) != 0 ? -EALREADY : -EOPNOTSUPP, "take-over: %s",
				 self->refusal);
	if (self->manager != 0 && hello->manager != self->manager)
		return error_set(error, -EPERM,
				 "take-over: a service manager runs this gateway, and would start it again: have it "
				 "reload the gateway (systemctl reload)");
	/* The payload ends by 0 wherever it ends. */
	if (strcmp(hello->layout, self->layout) != 0)
		return error_set(error, -ENOTUNIQ,
				 "take-over: the new program's layout is another one: restart the gateway instead");
	return 0;
}

/* Parts of many descriptors fill the socket before the other side has read the first. */
static int send_when_there_is_room(int fd, const struct channel_message *message, struct error *error)
{
	struct pollfd room = {.fd = fd, .events = POLLOUT};
	int result = channel_send(fd, message, error);
	while (result == -EAGAIN && poll(&room, 1, TAKEOVER_ANSWER_MS) > 0)
		result = channel_send(fd, message, error);
	return result;
}

static int send_part(int fd, struct channel_message *message, const struct descriptor_list *list, size_t first,
		     uint64_t watchdog, struct error *error)
{
	struct part *part = (struct part *)(void *)message->payload;
	size_t left = list->count - first, count = left < PART_MAX ? left : PART_MAX;
	message->kind = CHANNEL_DESCRIPTORS;
	message->length = (uint32_t)(sizeof *part + count * sizeof *part->names);
	message->fd_count = count;
	part->total = (uint32_t)list->count;
	part->count = (uint32_t)count;
	part->watchdog = watchdog;
	for (size_t i = 0; i < count; i++) {
		memcpy(part->names[i], list->entries[first + i].name, sizeof part->names[i]);
		message->fds[i] = list->entries[first + i].fd;
	}
	return send_when_there_is_room(fd, message, error);
}

int takeover_answer(int fd, const struct takeover_party *self, struct error *error)
{
	struct channel_message *message = malloc(sizeof *message);
	if (message == NULL)
		return no_memory(error);
	/* Also from another user: a socket that is closed with a message unread is reset, and the reason is lost. */
	int result = channel_receive(fd, CHANNEL_HELLO, message, 0, error);
	channel_close_descriptors(message); /* it has none to give */
	int allowed = channel_check_peer(fd, error);
	if (allowed != 0)
		result = allowed;
	if (result == 0)
		result = check_hello(message, self, error);
	if (result == -EALREADY) {
		*message = (struct channel_message){.kind = CHANNEL_RELOADS};
		(void)channel_send(fd, message, NULL);
	} else if (result != 0) {
		channel_refuse(fd, error->text);
	}
	free(message);
	return result;
}

int takeover_give(int fd, const struct descriptor_list *list, uint64_t watchdog, struct error *error)
{
	struct channel_message *message = malloc(sizeof *message);
	int result = 0;
	if (message == NULL)
		result = no_memory(error);
	else if (list->count > DESCRIPTOR_LIST_MOST)
		result = error_set(error, -E2BIG,
				   "take-over: there are %zu descriptors, and at most %d are given: restart the "
				   "gateway instead",
				   list->count, DESCRIPTOR_LIST_MOST);
	if (result != 0)
		channel_refuse(fd, error->text);
	for (size_t first = 0; message != NULL && result == 0 && first < list->count; first += PART_MAX)
		result = send_part(fd, message, list, first, watchdog, error);
	free(message);
	return result;
}

void takeover_tell_reloaded(int fd, const struct error *failure)
{
	static const struct channel_message reloaded = {.kind = CHANNEL_RELOADED};
	if (failure != NULL)
		channel_refuse(fd, failure->text);
	else
		(void)channel_send(fd, &reloaded, NULL);
}

int takeover_claim_ms(size_t sessions, uint64_t watchdog)
{
	uint64_t limit = TAKEOVER_CLAIM_MS + sessions / TAKEOVER_CLAIM_SESSIONS, most = watchdog / 2 / NS_PER_MS;
	return (int)(watchdog != 0 && limit > most ? most : limit);
}

/* Until the word is NEW, the new process is gone, or the time is up. */
static void wait_for_claim(int fd, const struct handover_memory *memory, int claim_ms)
{
	uint64_t end = clock_monotonic(&clock_system) + (unsigned)claim_ms * NS_PER_MS;
	struct pollfd gone = {.fd = fd};
	while (handover_word(memory) != HANDOVER_NEW && clock_monotonic(&clock_system) < end) {
		if (poll(&gone, 1, CLAIM_LOOK_MS) > 0)
			return;
	}
}

static enum takeover_result keep(const struct takeover_owner *owner)
{
	owner->thaw(owner->context);
	return TAKEOVER_KEPT;
}

/* A message of this kind that is there; nothing else may be. */
static int hear(int fd, enum channel_kind kind, struct error *error)
{
	struct channel_message *message = malloc(sizeof *message);
	if (message == NULL)
		return no_memory(error);
	int result = channel_receive(fd, kind, message, 0, error);
	channel_close_descriptors(message); /* it has none to give */
	free(message);
	return result;
}

static int give(int fd, enum channel_kind kind, const int *descriptor, struct error *error)
{
	struct channel_message *message = malloc(sizeof *message);
	if (message == NULL)
		return no_memory(error);
	*message = (struct channel_message){.kind = kind};
	if (descriptor != NULL)
		message->fds[message->fd_count++] = *descriptor;
	int result = channel_send(fd, message, error);
	free(message);
	return result;
}

int takeover_export(int fd, const struct takeover_owner *owner, struct error *error)
{
	const struct handover_memory *memory;
	int result = hear(fd, CHANNEL_READY, error);
	if (result != 0)
		return result;
	result = owner->export(owner->context, &memory, error);
	if (result == 0)
		return give(fd, CHANNEL_RECORDS, &memory->fd, error);
	channel_refuse(fd, error->text);
	return result;
}

enum takeover_result takeover_hand_over(int fd, const struct takeover_owner *owner,
					const struct handover_memory *memory, int claim_ms, struct error *error)
{
	if (hear(fd, CHANNEL_BUILT, error) != 0)
		return TAKEOVER_KEPT;
	if (owner->freeze(owner->context, error) != 0) {
		channel_refuse(fd, error->text);
		return TAKEOVER_KEPT;
	}
	if (owner->follow(owner->context, error) != 0) {
		channel_refuse(fd, error->text);
		return keep(owner);
	}
	/* The memory is the new process's from here on. */
	handover_offer(memory);
	int sent = give(fd, CHANNEL_OFFERED, NULL, error);
	if (sent == 0)
		wait_for_claim(fd, memory, claim_ms);
	/* Only the exchange decides, whatever was seen before. */
	if (!handover_retract(memory))
		return TAKEOVER_GIVEN;
	if (sent == 0)
		error_set(error, -ETIMEDOUT, "take-over: the new process did not take the sessions");
	return keep(owner);
}

void takeover_tell(int fd)
{
	static const struct channel_message told = {.kind = CHANNEL_TOLD};
	(void)channel_send(fd, &told, NULL);
}
