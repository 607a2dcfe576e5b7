from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("configservice", "0011_log_kept_for_absent_replicas")]

    operations = [
        migrations.AddField(
            model_name="cluster",
            name="generation",
            field=models.PositiveIntegerField(db_default=0, default=0, editable=False),
        ),
    ]
