from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("configservice", "0009_event_log")]

    operations = [
        migrations.AddField(
            model_name="topologyepoch",
            name="signatures",
            field=models.JSONField(db_default={}, default=dict, editable=False),
        ),
    ]
