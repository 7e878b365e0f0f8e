"""What people read when something went wrong or was done, in both languages.

Errors carry English messages for programs; here are the words for people, by the error's code. A code
that is not listed is told with its own message.
"""

from __future__ import annotations

from beira.kernel.errors import BeiraError, TooMany

Both = tuple[str, str]

ERRORS: dict[str, tuple[Both, Both]] = {
    "auth.wrong": (
        ("E-mail ou senha não conferem.", "E-mail or password is wrong."),
        (
            "Confira maiúsculas e o endereço. Quem é dono pode enviar um novo convite.",
            "Check capitals and the address. An owner can send you a new invitation.",
        ),
    ),
    "auth.totp_needed": (
        ("Falta o código do aplicativo autenticador.", "The authenticator's code is needed."),
        ("Abra o aplicativo e digite os 6 números.", "Open the app and type its 6 digits."),
    ),
    "auth.totp_wrong": (
        ("O código não confere.", "The code is wrong."),
        (
            "Espere o próximo código do aplicativo, ou use um código de recuperação.",
            "Wait for the app's next code, or use a recovery code.",
        ),
    ),
    "auth.too_many": (
        ("Foram tentativas demais.", "Too many tries."),
        ("Espere um pouco e tente de novo.", "Wait a little, then try again."),
    ),
    "auth.no_tenant": (
        ("Esta conta não pertence a nenhuma empresa.", "This account belongs to no company."),
        ("Peça um convite a quem é dono.", "Ask an owner for an invitation."),
    ),
    "auth.password_weak": (
        ("A senha é fraca demais.", "The password is too weak."),
        ("Use pelo menos 10 caracteres, sem palavras óbvias.", "Use 10 characters or more."),
    ),
    "auth.recent_needed": (
        ("Confirme com a sua senha.", "Confirm with your password."),
        ("Digite a senha e tente de novo.", "Type your password and try again."),
    ),
    "auth.elsewhere": (
        ("As contas ficam na nuvem.", "Accounts are kept in the cloud."),
        ("Mude-as no portal da nuvem.", "Change them in the cloud's portal."),
    ),
    "auth.cloud_only": (
        ("Isto só se muda na nuvem.", "This is changed in the cloud only."),
        ("Entre no portal da nuvem.", "Sign in at the cloud's portal."),
    ),
    "invite.code_wrong": (
        ("Este convite não vale mais.", "This invitation no longer holds."),
        (
            "Ele pode ter sido usado ou ter vencido: peça outro.",
            "It may have been used or have expired: ask for another.",
        ),
    ),
    "identity.exists": (
        ("Já existe um com este nome.", "There is one by that name already."),
        ("Escolha outro.", "Choose another."),
    ),
    "identity.name_invalid": (
        ("O nome deve ter de 1 a 48 letras.", "A name has 1 to 48 characters."),
        ("Escreva um nome mais curto.", "Write a shorter name."),
    ),
    "identity.last_owner": (
        ("A empresa precisa de pelo menos um dono.", "A company needs an owner."),
        ("Torne outra pessoa dona primeiro.", "Make somebody else an owner first."),
    ),
    "unavailable": (
        ("O banco de dados não responde agora.", "The database does not answer now."),
        (
            "Nada se perdeu e os balcões seguem trabalhando. Esta página tenta de novo sozinha.",
            "Nothing was lost and the counters go on working. This page tries again by itself.",
        ),
    ),
    "denied": (
        ("Você não tem permissão para isto.", "You may not do that."),
        ("Peça a quem é dono da empresa.", "Ask an owner of the company."),
    ),
    "not_found": (
        ("Não há nada aqui.", "There is nothing here."),
        ("Volte ao início e procure de novo.", "Go back to the start and look again."),
    ),
    "portal.forged": (
        ("Este formulário não vale mais.", "This form no longer holds."),
        ("Volte, recarregue a página e envie de novo.", "Go back, reload the page, send it again."),
    ),
    "command.elsewhere": (
        ("Este comando roda em outro lugar.", "This command runs elsewhere."),
        ("Envie-o a um nó.", "Send it to a node."),
    ),
    "partition.denied": (
        ("Esta loja não está entre as suas.", "This site is not among yours."),
        ("Peça acesso a quem é dono.", "Ask an owner for access."),
    ),
    "internal": (
        ("Algo falhou aqui.", "Something failed here."),
        ("Tente de novo; o registro tem os detalhes.", "Try again; the log has the details."),
    ),
}

DONE: dict[str, Both] = {
    "saved": ("Salvo.", "Saved."),
    "added": ("Adicionado.", "Added."),
    "removed": ("Removido.", "Removed."),
    "sent": ("Enviado.", "Sent."),
    "seen": ("Anotado como visto.", "Noted as seen."),
    "revoked": ("Revogado: não entra mais.", "Revoked: it is shut out."),
    "renamed": ("Nome alterado.", "Renamed."),
    "password": (
        "Senha alterada. As outras sessões foram encerradas.",
        "Password changed. Your other sessions were ended.",
    ),
    "totp_on": ("Verificação em duas etapas ligada.", "Two-step verification is on."),
    "totp_off": ("Verificação em duas etapas desligada.", "Two-step verification is off."),
    "sessions": ("Sessão encerrada.", "Session ended."),
    "corrected": ("Ponto corrigido.", "Punch corrected."),
    "joined": ("Pronto! Agora entre.", "Done! Now sign in."),
    "left": ("Você saiu.", "You have signed out."),
}


def told(error: BeiraError, language: str) -> tuple[str, str]:
    """The message and the next step of an error, in a language."""
    english = language != "pt-BR"
    known = ERRORS.get(error.code) or (
        ERRORS[error.default_code] if error.default_code in ("unavailable", "internal") else None
    )
    if known is None:
        return error.message, error.hint
    message, hint = known[0][english], known[1][english]
    if isinstance(error, TooMany):
        wait_s = max(1, round(error.retry_after_s))
        hint = f"Try again in {wait_s} s." if english else f"Tente de novo em {wait_s} s."
    return message, hint
