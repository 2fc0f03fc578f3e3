"""Workers on other machines: Celery on RabbitMQ, behind the seam where the engine is otherwise."""
