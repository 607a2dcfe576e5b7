from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("processing", "0004_recount_term"),
    ]

    operations = [
        migrations.CreateModel(
            name="LogLossRow",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ],
            options={
                "verbose_name": "lost range of the event log",
                "verbose_name_plural": "lost ranges of the event log",
                "managed": False,
                "default_permissions": ("view", "change"),
            },
        ),
    ]
