// SPDX-License-Identifier: Apache-2.0
#include "workers/staging.h"

#include <stdlib.h>

#include "crypto/aead.h"
#include "workers/frame_stats.h"

void staging_area_init(struct staging_area *area)
{
	*area = (struct staging_area){0};
	CDS_INIT_LIST_HEAD(&area->frames);
	CDS_INIT_LIST_HEAD(&area->ready);
}

void staging_init(struct staging *staging)
{
	*staging = (struct staging){0};
	CDS_INIT_LIST_HEAD(&staging->frames);
}

static void take_out(struct staging_area *area, struct staged_frame *frame)
{
	cds_list_del(&frame->of_session);
	cds_list_del(&frame->of_worker);
	frame->staging->count--;
	frame->staging->bytes -= frame->bytes;
	area->bytes -= frame->bytes;
}

struct staged_frame *staging_take(struct staging_area *area, struct staging *staging)
{
	if (staging->count == 0)
		return NULL;
	struct staged_frame *frame = caa_container_of(staging->frames.next, struct staged_frame, of_session);
	take_out(area, frame);
	return frame;
}

static void drop(struct staging_area *area, struct staged_frame *frame, enum drop_reason reason, struct stats *stats)
{
	take_out(area, frame);
	frame_stats_drop(stats, &frame->packet, reason);
	free(frame);
}

static bool session_is_full(const struct staging *staging, size_t bytes)
{
	return staging->count == STAGING_FRAMES || staging->bytes + bytes > STAGING_SESSION_BYTES;
}

/* The oldest first: of the session, then of all. */
static void make_room(struct staging_area *area, struct staging *staging, size_t bytes, struct stats *stats)
{
	struct staged_frame *frame, *following;
	cds_list_for_each_entry_safe(frame, following, &staging->frames, of_session)
	{
		if (!session_is_full(staging, bytes))
			break;
		drop(area, frame, DROP_OUT_STAGED, stats);
	}
	cds_list_for_each_entry_safe(frame, following, &area->frames, of_worker)
	{
		if (area->bytes + bytes <= STAGING_BYTES)
			break;
		drop(area, frame, DROP_OUT_STAGED, stats);
	}
}

void staging_put(struct staging_area *area, struct staging *staging, const struct inner *packet, struct stats *stats)
{
	_Static_assert(STAGING_SESSION_BYTES < STAGING_BYTES, "a frame always finds room");
	size_t length = VNET_HEADER_SIZE + packet->length;
	size_t bytes = sizeof(struct staged_frame) + length + AEAD_INPUT_SLACK;
	make_room(area, staging, bytes, stats);
	struct staged_frame *frame = malloc(bytes);
	if (frame == NULL) {
		frame_stats_drop(stats, packet, DROP_OUT_STAGED);
		return;
	}
	memcpy(frame->data, packet->data - VNET_HEADER_SIZE, length);
	frame->staging = staging;
	frame->bytes = bytes;
	frame->packet = *packet;
	frame->packet.data = frame->data + VNET_HEADER_SIZE;
	cds_list_add_tail(&frame->of_session, &staging->frames);
	cds_list_add_tail(&frame->of_worker, &area->frames);
	staging->count++;
	staging->bytes += bytes;
	area->bytes += bytes;
	stats_add(stats, staged_frames, 1);
}

void staging_drop(struct staging_area *area, struct staging *staging, enum drop_reason reason, struct stats *stats)
{
	struct staged_frame *frame, *following;
	cds_list_for_each_entry_safe(frame, following, &staging->frames, of_session)
	{
		drop(area, frame, reason, stats);
	}
	if (staging->ready.next != NULL)
		cds_list_del(&staging->ready);
	staging->ready = (struct cds_list_head){0};
}

void staging_release(struct staging_area *area, struct staging *staging)
{
	if (staging->count != 0 && staging->ready.next == NULL)
		cds_list_add_tail(&staging->ready, &area->ready);
}

struct staging *staging_next_ready(struct staging_area *area)
{
	if (cds_list_empty(&area->ready))
		return NULL;
	struct staging *staging = caa_container_of(area->ready.next, struct staging, ready);
	cds_list_del(&staging->ready);
	staging->ready = (struct cds_list_head){0};
	return staging;
}
