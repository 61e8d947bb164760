// SPDX-License-Identifier: Apache-2.0
/* What the harness's own files share: harness.c has clients, running and looking, gateway.c the gateway. */
#pragma once

#include "tests/harness/harness.h"

/* Aborts with the reason when the machine cannot. */
void must(bool good, const char *what);

/* Cipher, clock and sampling as the options say. */
void node_settings(struct node *node, struct harness *h);
struct aead_engine *node_engine(struct node *node);
void node_close_engine(struct node *node);

/* Fills in what every worker has, and makes one. */
void node_start(struct node *node, const struct worker_params *wanted);
void node_stop(struct node *node, bool orderly);

/* Between an inner address and a host behind the gateway. */
struct packet_spec spec_between(const uint8_t *own, size_t flow, enum direction direction, uint8_t version,
				uint8_t protocol);

/* A worker's turn: whether anything moved. */
bool node_turn(struct node *node, bool *blocked);

void harness_psk(uint8_t psk[KEY_SIZE], uint32_t number);

/* The gateway's other threads: once; each turn; at the end. */
void gateway_open(struct harness *h);
bool gateway_turn(struct harness *h, bool *blocked);
void gateway_close(struct harness *h);
bool gateway_problem(struct harness *h);
