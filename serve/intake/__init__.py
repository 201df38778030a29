"""Notes and events that the service fetches itself: notifications, polling, bulk export."""
