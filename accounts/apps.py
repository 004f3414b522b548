from django.apps import AppConfig
from django.db.models.signals import post_migrate

from accounts.roles import fill_groups


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        post_migrate.connect(fill_groups)  # after django.contrib.auth's own, which makes the permissions
