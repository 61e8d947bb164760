// SPDX-License-Identifier: Apache-2.0
#include "core/host/resolver.h"

#include <netdb.h>
#include <pthread.h>
#include <resolv.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mailbox.h"
#include "core/host/privileges.h"

enum { PATIENCE_S = 2 /* for a name server, at the first try */ };
#define RESOLUTION_DELAY_NS (50 * NS_PER_MS) /* RFC 8305, 3 */

static const int families[] = {AF_INET6, AF_INET};
enum { FAMILIES = ARRAY_SIZE(families) };

/* The result of one family's thread. */
struct half {
	struct sockaddr_in6 addresses[RESOLVER_ADDRESSES_MAX];
	size_t count;
	in_port_t port;
	char failure[128];
	bool done;
};

/* Shared by the control thread and a resolution under way; the last user frees it. */
struct resolver {
	_Atomic unsigned references;
	atomic_bool busy;
	struct mailbox results;
	uint16_t port;
	char host[];
};

/* A resolution, shared by its threads; the last one frees it. */
struct lookup {
	struct resolver *resolver;
	_Atomic unsigned references;
	struct outside *outside[FAMILIES]; /* one for each thread; NULL: only getaddrinfo() */

	pthread_mutex_t mutex; /* of what follows */
	pthread_cond_t changed;
	struct half halves[FAMILIES];
	bool told; /* a result was posted */
};

struct task {
	struct lookup *lookup;
	size_t family; /* place in `families` */
};

static void put(struct resolver *resolver)
{
	if (atomic_fetch_sub_explicit(&resolver->references, 1, memory_order_acq_rel) != 1)
		return;
	free(mailbox_deinit(&resolver->results));
	free(resolver);
}

struct resolver *resolver_new(const char *host, uint16_t port, struct error *error)
{
	size_t size = strlen(host) + 1;
	struct resolver *resolver = calloc(1, sizeof *resolver + size);
	if (resolver == NULL || mailbox_init(&resolver->results) != 0) {
		error_set(error, -ENOMEM, "resolver: %s", strerror(errno));
		free(resolver);
		return NULL;
	}
	atomic_init(&resolver->references, 1);
	resolver->port = port;
	memcpy(resolver->host, host, size);
	return resolver;
}

void resolver_free(struct resolver *resolver)
{
	if (resolver != NULL)
		put(resolver);
}

/* --- one family --------------------------------------------------------------------------------------------------- */

static void add(void *context, const struct sockaddr *address)
{
	struct half *half = context;
	if (half->count == RESOLVER_ADDRESSES_MAX)
		return;
	struct sockaddr_in6 *to = &half->addresses[half->count++];
	*to = (struct sockaddr_in6){.sin6_family = AF_INET6};
	if (address->sa_family == AF_INET6) {
		const struct sockaddr_in6 *from = (const struct sockaddr_in6 *)(const void *)address;
		to->sin6_addr = from->sin6_addr;
		to->sin6_scope_id = from->sin6_scope_id;
	} else {
		const struct sockaddr_in *from = (const struct sockaddr_in *)(const void *)address;
		to->sin6_addr.s6_addr[10] = to->sin6_addr.s6_addr[11] = 0xff;
		memcpy(&to->sin6_addr.s6_addr[12], &from->sin_addr, 4);
	}
	to->sin6_port = half->port;
}

/* libc waits 5 s for each answer; a retry after one second may find that the network has come up. The settings are
 * this thread's own; the second try waits twice as long. */
static void be_impatient(void)
{
	if (res_init() == 0)
		_res.retrans = PATIENCE_S;
}

static void ask_system(const char *host, int family, struct half *half)
{
	struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_DGRAM};
	struct addrinfo *list;
	be_impatient();
	int failure = getaddrinfo(host, NULL, &hints, &list);
	if (failure != 0) {
		(void)snprintf(half->failure, sizeof half->failure, "%s",
			       failure == EAI_SYSTEM ? strerror(errno) : gai_strerror(failure));
		return;
	}
	for (const struct addrinfo *at = list; at != NULL; at = at->ai_next)
		add(half, at->ai_addr);
	freeaddrinfo(list);
}

static void ask(const struct lookup *lookup, size_t family, struct half *half)
{
	const char *host = lookup->resolver->host;
	struct error error = {0};
	if (lookup->outside[family] != NULL &&
	    outside_ask(lookup->outside[family], host, families[family], add, half, &error) == 0)
		return;
	if (error.text[0] != '\0')
		log_debug("resolver: %s past the tunnel: %s", host, error.text);
	ask_system(host, families[family], half);
}

/* --- both --------------------------------------------------------------------------------------------------------- */

/* Families in turn, so that one that does not work here holds up the other one for one try only (RFC 8305, 4). */
static struct resolver_result *merge(const struct half halves[FAMILIES])
{
	struct resolver_result *result = calloc(1, sizeof *result);
	if (result == NULL)
		return NULL; /* the fd wakes the receiver, which finds no item */
	for (size_t i = 0; i < RESOLVER_ADDRESSES_MAX; i++) {
		for (size_t family = 0; family < FAMILIES; family++) {
			if (i < halves[family].count && result->count < RESOLVER_ADDRESSES_MAX)
				result->addresses[result->count++] = halves[family].addresses[i];
		}
	}
	/* "No address of that kind" is the less telling one, and that is IPv6's more often. */
	memcpy(result->failure, halves[FAMILIES - 1].failure, sizeof result->failure);
	return result;
}

static bool is_complete(const struct lookup *lookup)
{
	for (size_t i = 0; i < FAMILIES; i++) {
		if (!lookup->halves[i].done)
			return false;
	}
	return true;
}

static void wait_for_others(struct lookup *lookup)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += (long)RESOLUTION_DELAY_NS;
	if (until.tv_nsec >= (long)NS_PER_S) {
		until.tv_nsec -= (long)NS_PER_S;
		until.tv_sec++;
	}
	while (!is_complete(lookup) && pthread_cond_timedwait(&lookup->changed, &lookup->mutex, &until) == 0)
		;
}

/* Posts the results when a family is done, unless the other family will post them shortly. */
static void finish(struct lookup *lookup, size_t family, const struct half *half)
{
	struct resolver *resolver = lookup->resolver;
	pthread_mutex_lock(&lookup->mutex);
	lookup->halves[family] = *half;
	bool last = is_complete(lookup);
	if (last)
		pthread_cond_broadcast(&lookup->changed);
	else if (half->count != 0)
		wait_for_others(lookup);
	/* Before the result is posted: its receiver may start the next resolution. */
	if (last)
		atomic_store_explicit(&resolver->busy, false, memory_order_release);
	bool news = last ? half->count != 0 || !lookup->told : half->count != 0 && !is_complete(lookup);
	lookup->told |= news;
	if (news)
		free(mailbox_post(&resolver->results, merge(lookup->halves)));
	pthread_mutex_unlock(&lookup->mutex);
}

static void put_lookup(struct lookup *lookup, unsigned references)
{
	if (atomic_fetch_sub_explicit(&lookup->references, references, memory_order_acq_rel) != references)
		return;
	for (size_t i = 0; i < FAMILIES; i++)
		outside_close(lookup->outside[i]);
	pthread_cond_destroy(&lookup->changed);
	pthread_mutex_destroy(&lookup->mutex);
	put(lookup->resolver);
	free(lookup);
}

static void *thread_main(void *argument)
{
	const struct task task = *(struct task *)argument;
	free(argument);
	/* It parses packets of unknown origin, in NSS modules that are not part of this program. */
	if (privileges_drop_thread() != 0)
		log_warning("resolver: it keeps its capabilities: %s", strerror(errno));
	struct half half = {.port = htons(task.lookup->resolver->port), .done = true};
	ask(task.lookup, task.family, &half);
	finish(task.lookup, task.family, &half);
	put_lookup(task.lookup, 1);
	return NULL;
}

/* --- starting ----------------------------------------------------------------------------------------------------- */

static struct lookup *lookup_new(struct resolver *resolver, const struct outside_servers *servers)
{
	struct lookup *lookup = calloc(1, sizeof *lookup);
	if (lookup == NULL)
		return NULL;
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&lookup->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	pthread_mutex_init(&lookup->mutex, NULL);
	atomic_init(&lookup->references, FAMILIES + 1); /* of the threads and of the function that starts them */
	lookup->resolver = resolver;
	atomic_fetch_add_explicit(&resolver->references, 1, memory_order_relaxed);
	for (size_t i = 0; servers != NULL && servers->count != 0 && i < FAMILIES; i++) {
		struct error error = {0};
		lookup->outside[i] = outside_open(servers, &error);
		if (lookup->outside[i] == NULL)
			log_warning("%s", error.text);
	}
	return lookup;
}

static int start_thread(struct lookup *lookup, size_t family)
{
	struct task *task = malloc(sizeof *task);
	if (task == NULL)
		return -ENOMEM;
	*task = (struct task){lookup, family};
	pthread_attr_t attributes;
	pthread_t thread;
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	int failure = pthread_create(&thread, &attributes, thread_main, task);
	pthread_attr_destroy(&attributes);
	if (failure != 0)
		free(task);
	return -failure;
}

int resolver_start(struct resolver *resolver, const struct outside_servers *outside)
{
	if (atomic_exchange_explicit(&resolver->busy, true, memory_order_acq_rel))
		return 0;
	struct lookup *lookup = lookup_new(resolver, outside);
	if (lookup == NULL) {
		atomic_store_explicit(&resolver->busy, false, memory_order_release);
		return -ENOMEM;
	}
	unsigned references = 1;
	for (size_t i = 0; i < FAMILIES; i++) {
		struct half none = {.done = true};
		int failure = start_thread(lookup, i);
		if (failure == 0)
			continue;
		(void)snprintf(none.failure, sizeof none.failure, "thread: %s", strerror(-failure));
		finish(lookup, i, &none);
		references++;
	}
	put_lookup(lookup, references);
	return 0;
}

int resolver_fd(const struct resolver *resolver)
{
	return resolver->results.fd;
}

struct resolver_result *resolver_take(struct resolver *resolver)
{
	return mailbox_take(&resolver->results);
}
