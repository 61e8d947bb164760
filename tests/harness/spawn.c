// SPDX-License-Identifier: Apache-2.0
/* The harness's threads. */
#include "tests/harness/inside.h"

static void *run_worker(void *worker)
{
	rcu_join();
	worker_run(worker);
	rcu_leave();
	return NULL;
}

static void *run_reader(void *reader)
{
	rcu_join();
	tun_reader_run(reader);
	rcu_leave();
	return NULL;
}

static void *run_handshaker(void *handshaker)
{
	rcu_join();
	handshaker_run(handshaker);
	rcu_leave();
	return NULL;
}

static void spawn(pthread_t *thread, void *(*run)(void *), void *object)
{
	must(pthread_create(thread, NULL, run, object) == 0, "thread");
}

static struct node *worker_node(struct harness *h, unsigned i)
{
	return i == 0 ? &h->gateway.node : &h->gateway.others[i - 1];
}

void harness_spawn_gateway(struct harness *h)
{
	struct gateway_node *gateway = &h->gateway;
	for (unsigned i = 0; i < h->options.workers; i++)
		spawn(&worker_node(h, i)->thread, run_worker, worker_node(h, i)->worker);
	if (gateway->reader != NULL)
		spawn(&gateway->reader_thread, run_reader, gateway->reader);
	for (unsigned i = 0; i < h->options.handshakers; i++)
		spawn(&gateway->handshakes[i].thread, run_handshaker, gateway->handshakes[i].handshaker);
	rcu_offline();
}

void harness_join_gateway(struct harness *h)
{
	struct gateway_node *gateway = &h->gateway;
	for (unsigned i = 0; i < h->options.handshakers; i++) {
		event_loop_stop(&gateway->handshakes[i].handshaker->loop);
		pthread_join(gateway->handshakes[i].thread, NULL);
	}
	if (gateway->reader != NULL) {
		event_loop_stop(&gateway->reader->loop);
		pthread_join(gateway->reader_thread, NULL);
	}
	for (unsigned i = 0; i < h->options.workers; i++) {
		event_loop_stop(&worker_node(h, i)->worker->loop);
		pthread_join(worker_node(h, i)->thread, NULL);
	}
	rcu_online();
}

void harness_spawn_client(struct harness *h, size_t client)
{
	struct node *node = &h->clients[client].node;
	spawn(&node->thread, run_worker, node->worker);
}

void harness_join_client(struct harness *h, size_t client)
{
	struct node *node = &h->clients[client].node;
	event_loop_stop(&node->worker->loop);
	pthread_join(node->thread, NULL);
}

bool harness_await_state(struct client_node *client, enum client_state state, unsigned limit_ms)
{
	const struct timespec look = {.tv_nsec = NS_PER_MS};
	for (unsigned waited = 0; waited < limit_ms; waited++) {
		harness_take_snapshot(client);
		if (client->seen.state == state)
			return true;
		(void)nanosleep(&look, NULL);
	}
	return false;
}
